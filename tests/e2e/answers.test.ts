/** The main job, with nothing replaced: an entry and three peers as processes, asked by the official OpenAI client. */
import { afterAll, beforeAll, expect } from "bun:test"
import * as EngineSupervisor from "@weft/engine/EngineSupervisor"
import type { GenerateRequest } from "@weft/engine/Generation"
import { Effect, Exit, Scope } from "effect"
import OpenAI from "openai"
import { answer, greedy } from "../engine/asking.ts"
import { it } from "../support/effect.ts"
import { modelPath, startEntry, startPeer } from "../support/processes.ts"

const model = "tiny-small-f16"
const sum = [{ role: "user", content: "What is 7 plus 5?" }] as const
const story = [{ role: "user", content: "Tell me a story about a fox." }] as const

const scope = Effect.runSync(Scope.make())
let mesh: { readonly url: string; readonly peers: ReadonlyArray<string>; readonly openai: OpenAI }

beforeAll(async () => {
  mesh = await Effect.runPromise(
    Scope.extend(
      Effect.gen(function* () {
        const entry = yield* startEntry()
        const peers = yield* Effect.forEach([1, 2, 3], () => startPeer(entry.url), { concurrency: 3 })
        const openai = new OpenAI({ baseURL: `${entry.url}/v1`, apiKey: "unused", maxRetries: 0 })
        return { url: entry.url, peers: peers.map((peer) => peer.id), openai }
      }),
      scope
    )
  )
}, 60_000)
afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

const chat = (options: Partial<OpenAI.ChatCompletionCreateParamsNonStreaming> = {}) =>
  Effect.promise(() => mesh.openai.chat.completions.create({ model, messages: [...sum], temperature: 0, ...options }))
const textOf = (completion: OpenAI.ChatCompletion): string => completion.choices[0]?.message.content ?? ""

it.live("the model is listed, and shown by its id", () =>
  Effect.gen(function* () {
    const models = yield* Effect.promise(() => mesh.openai.models.list())
    expect(models.data.map(({ id }) => id)).toEqual([model])
    expect((yield* Effect.promise(() => mesh.openai.models.retrieve(model))).id).toBe(model)
  })
)

it.live("What is 7 plus 5? is answered right by a peer of the mesh", () =>
  Effect.gen(function* () {
    const { data, response } = yield* Effect.promise(() =>
      mesh.openai.chat.completions.create({ model, messages: [...sum], temperature: 0 }).withResponse()
    )
    expect(textOf(data)).toBe("7 plus 5 is 12.")
    expect(data.choices[0]?.finish_reason).toBe("stop")
    expect(data.usage).toMatchObject({ prompt_tokens: 10, completion_tokens: 6, total_tokens: 16 })
    expect(mesh.peers).toContain(response.headers.get("x-weft-served-by") ?? "")
  })
)

it.live("requests at once spread over the peers", () =>
  Effect.gen(function* () {
    const servedBy = yield* Effect.forEach(
      [1, 2, 3, 4, 5, 6],
      () =>
        Effect.promise(async () => {
          const create = mesh.openai.chat.completions.create({ model, messages: [...story], max_tokens: 60 })
          return (await create.withResponse()).response.headers.get("x-weft-served-by")
        }),
      { concurrency: "unbounded" }
    )
    // Two with four places each are enough for six.
    expect(new Set(servedBy).size).toBeGreaterThan(1)
  })
)

it.live("greedy tokens through the mesh are those of the engine used alone", () =>
  Effect.gen(function* () {
    const engine = yield* EngineSupervisor.make({ path: modelPath(model), modelId: model })
    const request: GenerateRequest = {
      requestId: "alone",
      model,
      prompt: { _tag: "Chat", messages: [...story] },
      sampling: greedy,
      maxTokens: 120,
      stop: []
    }
    const { text, tokens } = yield* answer(engine, request)
    const through = yield* chat({ messages: [...story], max_tokens: 120 })
    expect(textOf(through)).toBe(text)
    expect(through.usage?.completion_tokens).toBe(tokens.length)
    expect(text).toStartWith("Once upon a time")
  })
)

it.live("a stream gives the same text in pieces, then its usage", () =>
  Effect.gen(function* () {
    const whole = textOf(yield* chat({ messages: [...story], max_tokens: 40 }))
    const chunks = yield* Effect.promise(async () => {
      const stream = await mesh.openai.chat.completions.create({
        model,
        messages: [...story],
        temperature: 0,
        max_tokens: 40,
        stream: true,
        stream_options: { include_usage: true }
      })
      const all: Array<OpenAI.ChatCompletionChunk> = []
      for await (const chunk of stream) all.push(chunk)
      return all
    })
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")).toBe(whole)
    expect(chunks.filter((chunk) => chunk.choices[0]?.delta.content).length).toBeGreaterThan(10)
    expect(new Set(chunks.map((chunk) => chunk.id)).size).toBe(1)
    expect(chunks.at(-1)?.usage?.completion_tokens).toBe(40)
    expect(chunks.at(-2)?.choices[0]?.finish_reason).toBe("length")
  })
)

it.live("a stop string ends the answer before it", () =>
  Effect.gen(function* () {
    const stopped = yield* chat({ stop: [" is"] })
    expect(textOf(stopped)).toBe("7 plus 5")
    expect(stopped.choices[0]?.finish_reason).toBe("stop")
  })
)

it.live("the same seed gives the same answer, on whichever peer", () =>
  Effect.gen(function* () {
    const drawn = (seed: number) =>
      Effect.map(chat({ messages: [...story], temperature: 1.2, seed, max_tokens: 60 }), textOf)
    const [first, second, third, other] = yield* Effect.all([drawn(7), drawn(7), drawn(7), drawn(8)])
    expect(second).toBe(first)
    expect(third).toBe(first)
    expect(other).not.toBe(first)
  })
)

it.live("text completions go through too", () =>
  Effect.gen(function* () {
    const completion = yield* Effect.promise(() =>
      mesh.openai.completions.create({ model, prompt: "Once upon a time", temperature: 0, max_tokens: 12 })
    )
    expect(completion.choices[0]?.text.length).toBeGreaterThan(10)
    expect(completion.usage?.completion_tokens).toBe(12)
  })
)

it.live("a prompt beyond the context and a model nobody has are refused with their codes", () =>
  Effect.gen(function* () {
    const refusal = (options: Partial<OpenAI.ChatCompletionCreateParamsNonStreaming>) =>
      Effect.flip(
        Effect.tryPromise({
          try: () => mesh.openai.chat.completions.create({ model, messages: [...sum], ...options }),
          catch: (error) => error as InstanceType<typeof OpenAI.APIError>
        })
      )
    const long = yield* refusal({ messages: [{ role: "user", content: "seven plus five ".repeat(400) }] })
    expect([long.status, long.code, long.param]).toEqual([400, "context_length_exceeded", "messages"])
    const unknown = yield* refusal({ model: "gpt-17" })
    expect([unknown.status, unknown.code]).toEqual([404, "model_not_found"])
    expect(unknown.requestID).toStartWith("req_")
  })
)
