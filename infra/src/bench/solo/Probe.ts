/** Asks the same thing of the mesh and of the library directly, and checks that it was the same thing. */
import { basename } from "node:path"
import * as ChatStream from "../http/ChatStream.ts"
import type { Entry } from "../Mesh.ts"
import type { Asked } from "../Programs.ts"
import type { Seeded } from "../Seeded.ts"
import type { DirectQuestion, DirectReply } from "./Direct.ts"

/** Represents both ways to one model. */
export interface Probe {
  /** Returns a prompt of about ten tokens that nobody has seen. */
  readonly prompt: () => string
  /** Returns one of some 300 tokens. */
  readonly longPrompt: () => string
  readonly chat: (messages: ChatStream.ChatQuestion["messages"], maxTokens: number) => Promise<ChatStream.ChatAnswer>
  readonly through: (prompt: string, maxTokens: number) => Promise<ChatStream.ChatAnswer>
  readonly direct: (prompt: string, maxTokens: number) => Promise<DirectReply>
  /** Returns tokens of all answers per second, from the first request to the last end. */
  readonly throughAll: (prompts: ReadonlyArray<string>, maxTokens: number) => Promise<number>
  readonly directAll: (prompts: ReadonlyArray<string>, maxTokens: number) => Promise<number>
}

/** Returns the probe of the model at `path`; its answers have as many tokens as were asked for, or it throws. */
export const makeProbe = (
  { connections }: Entry,
  path: string,
  direct: Asked<DirectQuestion, DirectReply>,
  chance: Seeded
): Probe => {
  const model = basename(path, ".gguf")
  const chat: Probe["chat"] = async (messages, maxTokens) => {
    const answer = await ChatStream.ask(connections, { model, messages, maxTokens }).answer
    const { errorCode, status, usage, whole } = answer
    if (!whole || usage?.completionTokens !== maxTokens)
      throw new Error(`the mesh gave ${usage?.completionTokens} of ${maxTokens} tokens: ${status} ${errorCode}`)
    return answer
  }
  const through: Probe["through"] = (prompt, maxTokens) => chat([{ role: "user", content: prompt }], maxTokens)
  // Three letters and three digits are six tokens, whatever they are.
  const nonce = (): string =>
    Array.from({ length: 3 }, () => `${chance.pick(["q", "x", "z", "j", "v"])}${chance.below(10)}`).join("")
  return {
    prompt: () => `${nonce()} a fox`,
    longPrompt: () => `${nonce()}${" a fox".repeat(140)}`,
    chat,
    through,
    direct: async (prompt, maxTokens) => {
      const reply = await direct.ask({ kind: "one", prompt: rendered(prompt), maxTokens })
      if (reply.tokens !== maxTokens) throw new Error(`the library gave ${reply.tokens} of ${maxTokens} tokens`)
      return reply
    },
    throughAll: async (prompts, maxTokens) => {
      const answers = await Promise.all(prompts.map((prompt) => through(prompt, maxTokens)))
      const startedMs = Math.min(...answers.map((answer) => answer.startedMs))
      const endedMs = Math.max(...answers.map((answer) => answer.endedMs))
      return (prompts.length * maxTokens) / ((endedMs - startedMs) / 1000)
    },
    directAll: async (prompts, maxTokens) => {
      const reply = await direct.ask({ kind: "all", prompts: prompts.map(rendered), maxTokens })
      if (reply.tokens !== prompts.length * maxTokens) throw new Error(`the library gave ${reply.tokens} tokens`)
      return reply.tokens / (reply.lastMs / 1000)
    }
  }
}

// internal

/** Writes a chat of one message as the bundled models' template does. */
const rendered = (prompt: string): string => `<|user|>${prompt}<|end|><|assistant|>`
