/** Prompts that begin alike, in a batch loop of the fast profile: what each finds computed, as its usage says. */
import { afterAll, beforeAll, expect, test } from "bun:test"
import * as BatchLoop from "@weft/engine/BatchLoop"
import type { Llama } from "../../packages/engine/src/internal/llama/Llama.ts"
import { ask, greedy, models } from "./asking.ts"
import { type Arrival, openLlama, runLoop } from "./looping.ts"

const limits = { contextTokens: 512, slots: 4, prefillTokens: 32, profile: "fast", pairRows: false } as const
let llama: Llama

beforeAll(async () => {
  llama = await openLlama({ ...limits, path: models.small })
})
afterAll(() => llama.close())

/** Returns a question whose first tokens are those of its tenant, and its last one its own. */
const question = (
  tenant: number,
  own: number,
  options: { length?: number; turn?: number; seed?: number } = {}
): Arrival => {
  const { length = 200, seed, turn = 0 } = options
  const beginning = Array.from({ length }, (_, at) => 6 + ((at * 37 + tenant * 101) % 900))
  const prompt = [1, ...beginning, 6 + own]
  const sampling = { ...greedy, ...(seed === undefined ? {} : { seed }) }
  return { request: ask({ _tag: "Tokens", tokens: prompt }, { sampling, maxTokens: 4 }), prompt, seed: seed ?? 1, turn }
}

/** Returns how many tokens each found computed. */
const found = (loop: BatchLoop.BatchLoop, ...questions: ReadonlyArray<Arrival>): ReadonlyArray<number> =>
  runLoop(loop, questions).map((events) => {
    const last = events.at(-1)
    if (last?._tag !== "Finished") throw new Error("an answer did not end")
    return last.usage.cachedTokens
  })

test("of questions that come at once with the same long beginning, one computes it and all others find it", () => {
  const loop = BatchLoop.make(llama, limits)
  const answered = found(loop, question(1, 1), question(2, 1), question(1, 2), question(1, 3, { turn: 3 }))
  expect(answered).toEqual([0, 0, 201, 201])
})

test("a question whose answers must repeat, and beginnings shorter than a decode, are not waited for", () => {
  expect(found(BatchLoop.make(llama, limits), question(1, 1), question(1, 2, { seed: 7 }))).toEqual([0, 0])
  const short = { length: 10 }
  expect(found(BatchLoop.make(llama, limits), question(1, 1, short), question(1, 2, short))).toEqual([0, 0])
})

test("questions of one tenant do not take the slots of all others", () => {
  const loop = BatchLoop.make(llama, limits)
  found(loop, question(1, 1))
  found(loop, question(2, 1), question(2, 2), question(2, 3))
  found(loop, question(3, 1))
  expect(found(loop, question(1, 2), question(2, 4), question(3, 2))).toEqual([201, 201, 201])
})
