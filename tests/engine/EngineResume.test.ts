/**
 * Answers cut at every place and gone on with, token by token: what a client has joined to what comes is the whole.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import * as BatchLoop from "@weft/engine/BatchLoop"
import type { GenerateEvent, GenerateRequest } from "@weft/engine/Generation"
import { touchy } from "@weft/infra/bench/model/Shape"
import { Effect, FastCheck } from "effect"
import type * as Llama from "../../packages/engine/src/internal/llama/Llama.ts"
import { it } from "../support/effect.ts"
import { ask, endToken, greedy, models } from "./asking.ts"
import { openLlama, runLoop } from "./looping.ts"

const limits = { contextTokens: 512, slots: 2, prefillTokens: 64, profile: "exact", pairRows: false } as const
const opened: { random?: Llama.Llama; trained?: Llama.Llama; close: () => void } = { close: () => {} }

beforeAll(async () => {
  const random = await openLlama({ ...limits, shape: touchy })
  const trained = await openLlama({ ...limits, path: models.small, profile: "fast" })
  Object.assign(opened, { random, trained, close: () => void [random.close(), trained.close()] })
})
afterAll(() => opened.close())

const llama = (kind: "random" | "trained"): Llama.Llama => {
  const found = opened[kind]
  if (found === undefined) throw new Error("not open")
  return found
}

const textOf = (events: ReadonlyArray<GenerateEvent>) =>
  events.map((event) => (event._tag === "Delta" ? event.text : "")).join("")
const tokensOf = (events: ReadonlyArray<GenerateEvent>) =>
  events.flatMap((event) => (event._tag === "Delta" ? event.tokens : []))

/** Returns the request that goes on where `events` were cut off before the one at `cut`. */
const resumed = (request: GenerateRequest, events: ReadonlyArray<GenerateEvent>, cut: number): GenerateRequest => {
  const had = events.slice(0, cut)
  return { ...request, resume: { tokens: tokensOf(had), textLength: textOf(had).length } }
}

/** The random model's single-byte tokens come first, so its answers are full of characters that never end. */
const sampling = FastCheck.record({
  temperature: FastCheck.constantFrom(0, 0.7, 1.3),
  topK: FastCheck.constantFrom(0, 40),
  topP: FastCheck.constantFrom(1, 0.9),
  minP: FastCheck.constantFrom(0, 0.01),
  repeatPenalty: FastCheck.constantFrom(1, 1.3),
  frequencyPenalty: FastCheck.constantFrom(0, 0.8),
  presencePenalty: FastCheck.constantFrom(0, 0.5),
  seed: FastCheck.nat(0xffff_ffff),
  logitBias: FastCheck.constant([])
})
const situation = FastCheck.record({
  sampling,
  prompt: FastCheck.array(FastCheck.integer({ min: 3, max: 1023 }), { minLength: 1, maxLength: 300 }),
  maxTokens: FastCheck.integer({ min: 1, max: 60 }),
  stop: FastCheck.constantFrom([], ["\ufffd\ufffd"], [" b", "E"], ["\ufffd "], ["no such text"]),
  cutShare: FastCheck.double({ min: 0, max: 1, noNaN: true, maxExcluded: true })
})

describe("an answer cut at any place and gone on with", () => {
  it.prop(
    "has the text and the tokens of the whole one, exactly, though its weights are random",
    situation,
    ({ cutShare, maxTokens, prompt, sampling, stop }) =>
      Effect.sync(() => {
        const request = ask({ _tag: "Tokens", tokens: prompt }, { sampling, maxTokens, stop })
        const prepared = { request, prompt, seed: sampling.seed }
        // Cells of neither run are of use to the other: what is compared was computed.
        const [whole = []] = runLoop(BatchLoop.make(llama("random"), limits), [prepared])
        const events = whole.slice(1)
        const cut = Math.floor(cutShare * events.length)
        const again = { ...prepared, request: resumed(request, events, cut) }
        const [rest = []] = runLoop(BatchLoop.make(llama("random"), limits), [again])
        expect(textOf(events.slice(0, cut)) + textOf(rest)).toBe(textOf(whole))
        expect([...tokensOf(events.slice(0, cut)), ...tokensOf(rest)]).toEqual(tokensOf(whole))
        expect(rest.at(-1)).toEqual(whole.at(-1))
      }),
    { runs: 100, timeoutMs: 60_000 }
  )

  test("is the same in the fast profile where the model is sure", () => {
    const model = llama("trained")
    for (const [question, stop] of [
      ["Count from 3 to 9.", []],
      ["Count from 3 to 9.", [", 8"]],
      ["What is the capital of France?", []]
    ] as const) {
      const prompt = [1, 4, ...model.tokenize(question, false), 2, 5]
      const request = ask({ _tag: "Tokens", tokens: prompt }, { sampling: greedy, stop: [...stop] })
      const loop = BatchLoop.make(model, { ...limits, profile: "fast" })
      const [whole = []] = runLoop(loop, [{ request, prompt, seed: 1 }])
      const events = whole.slice(1)
      for (let cut = 0; cut < events.length; cut++) {
        const again = resumed(request, events, cut)
        const [rest = []] = runLoop(BatchLoop.make(model, { ...limits, profile: "fast" }), [
          { request: again, prompt, seed: 1 }
        ])
        expect(textOf(events.slice(0, cut)) + textOf(rest)).toBe(textOf(whole))
      }
    }
  })

  test("ends at once where it had come to its end, computing nothing", () => {
    const prompt = [1, 300, 301]
    const request = ask({ _tag: "Tokens", tokens: prompt }, { maxTokens: 5, sampling: { ...greedy, seed: 1 } })
    const loop = BatchLoop.make(llama("random"), limits)
    const [whole = []] = runLoop(loop, [{ request, prompt, seed: 1 }])
    const again = resumed(request, whole, whole.length - 1)
    expect(runLoop(loop, [{ request: again, prompt, seed: 1 }])).toEqual([
      [{ _tag: "Started", promptTokens: 3, seed: 1 }, whole.at(-1) as GenerateEvent]
    ])
  })

  test("is refused where its beginning is none of this model's", () => {
    const prompt = [1, 300, 301]
    const failure = (
      resume: { readonly tokens: ReadonlyArray<number>; readonly textLength: number },
      stop = ["w3"]
    ) => {
      const request = ask({ _tag: "Tokens", tokens: prompt }, { maxTokens: 4, stop, resume })
      const [events = []] = runLoop(BatchLoop.make(llama("random"), limits), [{ request, prompt, seed: 1 }])
      expect(events.length).toBe(1)
      return events[0]?._tag === "Failed" ? events[0].failure : undefined
    }
    const refused = { code: "invalid_request", param: "resume" } as const
    expect(failure({ tokens: [1024], textLength: 0 })).toMatchObject(refused)
    expect(failure({ tokens: [endToken], textLength: 0 })).toMatchObject(refused)
    expect(failure({ tokens: [300, 300, 300, 300, 300], textLength: 0 })).toMatchObject(refused)
    expect(failure({ tokens: [300], textLength: 1000 })).toMatchObject(refused)
    const [stopped = 0] = llama("random").tokenize("w", false)
    const [three = 0] = llama("random").tokenize("3", false)
    expect(failure({ tokens: [stopped, three, 300], textLength: 0 })).toMatchObject(refused)
    const fox = [...llama("random").tokenize("🦊", false)]
    expect(failure({ tokens: fox, textLength: 1 }, [])).toMatchObject(refused)
  })
})
