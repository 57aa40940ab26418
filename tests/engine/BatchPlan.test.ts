/** The plan of a decode of prompts, against every situation: nothing exceeds its bound, nobody waits for ever. */
import { describe, expect, test } from "bun:test"
import * as BatchPlan from "@weft/engine/BatchPlan"
import { Effect, FastCheck } from "effect"
import { it } from "../support/effect.ts"

const untouched = (known: number): BatchPlan.PlannedPrompt => ({ computed: 0, prompt: known, known })

const prompts = FastCheck.array(
  FastCheck.record({ prompt: FastCheck.integer({ min: 1, max: 3000 }), resumed: FastCheck.nat(300) }),
  { maxLength: 64 }
).chain((sizes) =>
  FastCheck.tuple(
    ...sizes.map(({ prompt, resumed }) =>
      FastCheck.nat(prompt + resumed - 1).map((computed) => ({ computed, prompt, known: prompt + resumed }))
    )
  )
)
const situation = FastCheck.record({ prompts, prefillTokens: FastCheck.integer({ min: 1, max: 512 }) })

/** Runs turns until all is computed; returns the sequences in the order in which they came to their ends. */
const finish = (
  prompts: ReadonlyArray<BatchPlan.PlannedPrompt>,
  plan: (left: ReadonlyArray<BatchPlan.PlannedPrompt>) => ReadonlyArray<BatchPlan.Slice>
) => {
  const left = prompts.map((prompt, index) => ({ ...prompt, index }))
  const finished: Array<number> = []
  while (left.length > 0) {
    const slices = plan(left)
    expect(slices.length).toBeGreaterThan(0)
    for (const { draws, index, rows } of slices.toReversed()) {
      const sequence = left[index]
      expect(rows).toBeGreaterThan(0)
      if (sequence === undefined) continue
      sequence.computed += rows
      expect(draws).toBe(sequence.computed === sequence.known)
      if (draws) finished.push(...left.splice(index, 1).map((one) => one.index))
    }
  }
  return finished
}

describe("BatchPlan", () => {
  it.prop("prompts share a bounded number of rows and use all of it", situation, ({ prefillTokens, prompts }) =>
    Effect.sync(() => {
      const slices = BatchPlan.plan(prompts, "fast", prefillTokens)
      const known = prompts.reduce((sum, { computed, known }) => sum + known - computed, 0)
      expect(slices.reduce((sum, { rows }) => sum + rows, 0)).toBe(Math.min(prefillTokens, known))
      expect(new Set(slices.map(({ index }) => index)).size).toBe(slices.length)
    })
  )

  it.prop("every prompt comes to its end", situation, ({ prefillTokens, prompts }) =>
    Effect.sync(() => {
      for (const profile of ["fast", "exact"] as const) {
        const finished = finish(prompts, (left) => BatchPlan.plan(left, profile, prefillTokens))
        expect(finished.toSorted((a, b) => a - b)).toEqual([...prompts.keys()])
      }
    })
  )

  it.prop("the exact profile cuts a prompt at the same places whatever else waits", situation, ({ prompts }) =>
    Effect.sync(() => {
      for (const { computed, known, prompt } of prompts) {
        const [slice] = BatchPlan.plan([{ computed, known, prompt }, ...prompts], "exact", 512)
        const end = computed + (slice?.rows ?? 0)
        if (computed >= prompt) expect(slice?.rows).toBeLessThanOrEqual(BatchPlan.replayedTokens)
        else expect(end === prompt || (end % BatchPlan.canonicalTokens === 0 && end < prompt)).toBe(true)
      }
    })
  )

  test("a long prompt waits its turn behind an older one", () => {
    expect(BatchPlan.plan([untouched(40), untouched(500)], "fast", 64)).toEqual([
      { index: 0, rows: 40, draws: true },
      { index: 1, rows: 24, draws: false }
    ])
    expect(BatchPlan.plan([untouched(140), untouched(20)], "exact", 64)).toEqual([
      { index: 0, rows: BatchPlan.canonicalTokens, draws: false }
    ])
  })
})
