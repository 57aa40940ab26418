/**
 * The exact profile on models with random weights, whose tokens change with the last bit of a logit: an answer is the
 * same whatever runs beside it, and whatever cells it finds.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import * as BatchLoop from "@weft/engine/BatchLoop"
import type { Sampling } from "@weft/engine/Generation"
import { touchy } from "@weft/infra/bench/model/Shape"
import { FastCheck } from "effect"
import type { Llama } from "../../packages/engine/src/internal/llama/Llama.ts"
import { ask, greedy, models } from "./asking.ts"
import { type Arrival, openLlama, runLoop } from "./looping.ts"

const kinds = {
  Q4_K_M: { shape: touchy, seed: 11 },
  Q8_0: { shape: { ...touchy, quantization: "Q8_0" }, seed: 12 },
  F16: { shape: { ...touchy, quantization: "F16" }, seed: 13 },
  trained: { path: models.small }
} as const
type Kind = keyof typeof kinds

const limits = { contextTokens: 512, slots: 8, prefillTokens: 1, profile: "exact" } as const
const limitsOf = (kind: Kind) => ({ ...limits, pairRows: kind === "F16" || kind === "trained" })
const opened = new Map<Kind, Llama>()

beforeAll(async () => {
  for (const [kind, source] of Object.entries(kinds))
    opened.set(kind as Kind, await openLlama({ ...limits, ...source }))
})
afterAll(() => {
  for (const llama of opened.values()) llama.close()
})

/** A chain with everything in it, so that any change of a logit can show. */
const warm: Sampling = {
  ...greedy,
  temperature: 1,
  topK: 200,
  topP: 0.98,
  minP: 0.001,
  repeatPenalty: 1.1,
  frequencyPenalty: 0.2
}

const arrival = FastCheck.record({
  /** Tokens of a common beginning, and of an end of its own. */
  common: FastCheck.constantFrom(0, 0, 100, 150, 260),
  own: FastCheck.integer({ min: 1, max: 180 }),
  maxTokens: FastCheck.integer({ min: 1, max: 40 }),
  turn: FastCheck.nat(60),
  seed: FastCheck.nat(0xffff_ffff),
  greedy: FastCheck.boolean()
})
type Case = typeof arrival extends FastCheck.Arbitrary<infer A> ? A : never
const eight = FastCheck.array(arrival, { minLength: 8, maxLength: 8 })

const prepare = ({ common, greedy: isGreedy, maxTokens, own, seed, turn }: Case): Arrival => {
  const token = (index: number) => 6 + ((index * 37 + (index < common ? 0 : seed)) % 1000)
  const prompt = [1, ...Array.from({ length: common + own }, (_, index) => token(index))]
  const sampling = { ...(isGreedy ? greedy : warm), seed }
  return { request: ask({ _tag: "Tokens", tokens: prompt }, { sampling, maxTokens }), prompt, seed, turn }
}

/** Returns the answers without the count of cells that were found, which is not part of an answer. */
const answers = (loop: BatchLoop.BatchLoop, arrivals: ReadonlyArray<Arrival>) => {
  const events = runLoop(loop, arrivals)
  const cached = events.flat().flatMap((event) => (event._tag === "Finished" ? [event.usage.cachedTokens] : []))
  const texts = events.map((one) => one.filter(({ _tag }) => _tag === "Delta"))
  return { cached: cached.reduce((sum, count) => sum + count, 0), texts }
}

describe("the exact profile", () => {
  for (const kind of ["Q4_K_M", "Q8_0", "F16", "trained"] as const) {
    test(`gives eight answers that come at any time what each gets alone, cells found or not: ${kind}`, () => {
      const llama = opened.get(kind)
      if (llama === undefined) throw new Error("not open")
      let found = 0
      const check = (cases: ReadonlyArray<Case>) => {
        const arrivals = cases.map(prepare)
        const together = BatchLoop.make(llama, limitsOf(kind))
        const first = answers(together, arrivals)
        // Once more, with the cells of the first time at hand.
        const second = answers(together, arrivals.toReversed())
        found += second.cached
        for (const [index, one] of arrivals.entries()) {
          const alone = answers(BatchLoop.make(llama, limitsOf(kind)), [{ ...one, turn: 0 }])
          expect(alone.cached).toBe(0)
          expect(first.texts[index]).toEqual(alone.texts[0] ?? [])
          expect(second.texts[arrivals.length - 1 - index]).toEqual(alone.texts[0] ?? [])
        }
      }
      FastCheck.assert(FastCheck.property(eight, check), { numRuns: 4, endOnFailure: true })
      expect(found).toBeGreaterThan(0)
    }, 60_000)
  }
})
