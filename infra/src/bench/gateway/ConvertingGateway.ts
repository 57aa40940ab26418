/**
 * The least gateway that understands what it passes on: finds the key by its hash, makes JSON of the body and a request
 * for the mesh of that, sends it as MessagePack to a process that answers with events, and makes the response of those.
 * Calls of libraries and nothing else: no field is checked, nobody is chosen, and nothing is limited, counted, bounded
 * in time or done again elsewhere. Where this adds as much as the goal of the gateway, the computer is too slow for it.
 */
import { createHash, randomUUID } from "node:crypto"
import { type GenerateEvent, greedy } from "@weft/engine/Generation"
import * as Frames from "@weft/mesh/Frames"
import { serve } from "../Programs.ts"
import * as FrameValues from "./FrameValues.ts"
import * as RawQuic from "./RawQuic.ts"

/** Represents where the answers come from, who may ask, and the headers of every response. */
export interface ConvertingResponse {
  readonly address: string
  readonly key: string
  readonly headers: Readonly<Record<string, string>>
}

serve(async ({ address, headers, key }: ConvertingResponse): Promise<string> => {
  const keys = new Set([hashOf(key)])
  const waiting: Array<(events: ReadonlyArray<GenerateEvent>) => void> = []
  let events: Array<GenerateEvent> = []
  const told = (value: unknown): void => {
    // Both ends are ours, and this one believes what it reads.
    const event = value as GenerateEvent
    events.push(event)
    if (event._tag !== "Finished") return
    waiting.shift()?.(events)
    events = []
  }
  const write = await RawQuic.connect(address, FrameValues.reader(told))
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request) => {
      const secret = request.headers.get("authorization")?.slice("Bearer ".length) ?? ""
      if (!keys.has(hashOf(secret))) return new Response(null, { status: 401 })
      const requestId = randomUUID()
      const { max_tokens: maxTokens, messages, model } = JSON.parse(utf8.decode(await request.bytes()))
      const { promise, resolve } = Promise.withResolvers<ReadonlyArray<GenerateEvent>>()
      waiting.push(resolve)
      const prompt = { _tag: "Chat", messages }
      write(Frames.frame({ requestId, model, prompt, sampling: greedy, stop: [], maxTokens }))
      const body = JSON.stringify(answerOf(requestId, model, await promise))
      return new Response(body, { headers: { ...headers, "x-request-id": requestId } })
    }
  })
  return `http://127.0.0.1:${server.port}`
})

// internal

const utf8 = new TextDecoder("utf-8", { fatal: true })

const hashOf = (secret: string): string => createHash("sha256").update(secret).digest("hex")

const answerOf = (requestId: string, model: string, events: ReadonlyArray<GenerateEvent>) => {
  const content = events.map((event) => (event._tag === "Delta" ? event.text : "")).join("")
  const last = events.find((event) => event._tag === "Finished")
  return {
    id: `chatcmpl-${requestId}`,
    object: "chat.completion",
    created: Math.floor(Date.now() / 1000),
    model,
    system_fingerprint: null,
    choices: [
      {
        index: 0,
        message: { role: "assistant", content, refusal: null },
        logprobs: null,
        finish_reason: last?.finishReason
      }
    ],
    usage: {
      prompt_tokens: last?.usage.promptTokens,
      completion_tokens: last?.usage.completionTokens,
      total_tokens: (last?.usage.promptTokens ?? 0) + (last?.usage.completionTokens ?? 0),
      prompt_tokens_details: { cached_tokens: last?.usage.cachedTokens },
      completion_tokens_details: { reasoning_tokens: 0 }
    }
  }
}
