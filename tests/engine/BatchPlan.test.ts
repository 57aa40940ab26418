/** The plan of a decode, against every situation: nobody is held up, nothing exceeds its bound. */
import { describe, expect, test } from "bun:test"
import * as BatchPlan from "@weft/engine/BatchPlan"
import { Effect, FastCheck } from "effect"
import { it } from "../support/effect.ts"

const answering = { pending: 1, answering: true }
const prompt = (pending: number) => ({ pending, answering: false })

const sequences = FastCheck.array(
  FastCheck.oneof(FastCheck.constant(answering), FastCheck.integer({ min: 1, max: 3000 }).map(prompt)),
  { maxLength: 64 }
)
const situation = FastCheck.record({ sequences, prefillTokens: FastCheck.integer({ min: 1, max: 512 }) })

describe("BatchPlan", () => {
  it.prop("every running answer gets its row, whatever prompts wait", situation, ({ sequences, prefillTokens }) =>
    Effect.sync(() => {
      const slices = BatchPlan.plan(sequences, prefillTokens)
      for (const [index, sequence] of sequences.entries()) {
        if (sequence.answering) expect(slices).toContainEqual({ index, rows: 1, draws: true })
      }
    })
  )

  it.prop("prompts share a bounded number of rows and use all of it", situation, ({ sequences, prefillTokens }) =>
    Effect.sync(() => {
      const slices = BatchPlan.plan(sequences, prefillTokens)
      const prompts = sequences.filter((sequence) => !sequence.answering)
      const rows = slices.filter(({ index }) => sequences[index]?.answering === false).map((slice) => slice.rows)
      const known = prompts.reduce((sum, { pending }) => sum + pending, 0)
      expect(rows.reduce((sum, count) => sum + count, 0)).toBe(Math.min(prefillTokens, known))
    })
  )

  it.prop(
    "a slice draws exactly where its sequence is computed to the end",
    situation,
    ({ sequences, prefillTokens }) =>
      Effect.sync(() => {
        const seen = new Set<number>()
        for (const { draws, index, rows } of BatchPlan.plan(sequences, prefillTokens)) {
          expect(seen.has(index)).toBe(false)
          seen.add(index)
          expect(rows).toBeGreaterThan(0)
          expect(draws).toBe(rows === sequences[index]?.pending)
        }
      })
  )

  it.prop("turns compute every prompt, the oldest first", situation, ({ sequences, prefillTokens }) =>
    Effect.sync(() => {
      const left = sequences.map(({ pending }) => pending)
      const finished: Array<number> = []
      const turnsMax = left.reduce((sum, count) => sum + count, 1)
      for (let turn = 0; turn < turnsMax && finished.length < sequences.length; turn++) {
        const open = [...left.keys()].filter((index) => !finished.includes(index))
        const planned = open.map((index) => ({ ...(sequences[index] ?? answering), pending: left[index] ?? 0 }))
        for (const slice of BatchPlan.plan(planned, prefillTokens)) {
          const index = open[slice.index] ?? -1
          left[index] = (left[index] ?? 0) - slice.rows
          if (slice.draws) finished.push(index)
        }
      }
      const prompts = finished.filter((index) => sequences[index]?.answering === false)
      expect(prompts).toEqual(prompts.toSorted((a, b) => a - b))
      expect(finished.length).toBe(sequences.length)
    })
  )

  test("a long prompt waits its turn behind an older one", () => {
    expect(BatchPlan.plan([prompt(40), answering, prompt(500)], 64)).toEqual([
      { index: 0, rows: 40, draws: true },
      { index: 1, rows: 1, draws: true },
      { index: 2, rows: 24, draws: false }
    ])
  })
})
