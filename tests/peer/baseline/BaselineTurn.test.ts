/** When a model's native speed is measured: the decision alone, on generated pasts. */
import { expect } from "bun:test"
import * as BaselineTurn from "@weft/peer/baseline/BaselineTurn"
import { Effect, FastCheck } from "effect"
import { it } from "../../support/effect.ts"

const hourMs = 3_600_000
const times = { afterReadyMs: 30_000, everyMs: 12 * hourMs, againMs: 600_000 }
const startMs = 1_700_000_000_000
const fresh: BaselineTurn.Candidate = { readySinceMs: startMs, setup: "a", known: undefined, triedAtMs: undefined }
const measured = (measuredAtMs: number, runs = 3, setup = "a") => ({
  setup,
  figures: { ttftMs: 10, tokensPerSecond: 20, runs, measuredAtMs }
})
const due = (changes: Partial<BaselineTurn.Candidate>, nowMs = startMs) =>
  BaselineTurn.dueMs({ ...fresh, ...changes }, times, nowMs)

it.effect("a model is due 30 s after it is ready, and never before it is", () =>
  Effect.sync(() => {
    expect(due({})).toBe(startMs + 30_000)
    expect(due({ readySinceMs: undefined })).toBeUndefined()
    expect(BaselineTurn.next([fresh], true, times, startMs + 29_999)).toBeUndefined()
    expect(BaselineTurn.next([fresh], true, times, startMs + 30_000)).toBe(fresh)
  })
)

it.effect("what was measured stands for 12 hours, with less than three runs for ten minutes", () =>
  Effect.sync(() => {
    const atMs = startMs + hourMs
    expect(due({ known: measured(atMs), triedAtMs: atMs }, atMs)).toBe(atMs + 12 * hourMs)
    for (const runs of [1, 2]) expect(due({ known: measured(atMs, runs), triedAtMs: atMs }, atMs)).toBe(atMs + 600_000)
    expect(due({ triedAtMs: atMs }, atMs)).toBe(atMs + 600_000)
  })
)

it.effect("another file, library or calibration, and a clock that was ahead, make it due again", () =>
  Effect.sync(() => {
    const nowMs = startMs + hourMs
    expect(due({ known: measured(nowMs - 1, 3, "b") }, nowMs)).toBe(startMs + 30_000)
    expect(due({ known: measured(nowMs + 1) }, nowMs)).toBe(startMs + 30_000)
    expect(due({ triedAtMs: nowMs + 1 }, nowMs)).toBe(startMs + 30_000)
  })
)

const candidate = FastCheck.record({
  readySinceMs: FastCheck.option(
    FastCheck.nat(20 * hourMs).map((at) => startMs + at),
    { nil: undefined }
  ),
  setup: FastCheck.constantFrom("a", "b"),
  known: FastCheck.option(
    FastCheck.tuple(FastCheck.nat(20 * hourMs), FastCheck.integer({ min: 1, max: 3 })).map(([at, runs]) =>
      measured(startMs + at, runs)
    ),
    { nil: undefined }
  ),
  triedAtMs: FastCheck.option(
    FastCheck.nat(20 * hourMs).map((at) => startMs + at),
    { nil: undefined }
  )
})

it.effect("nobody is measured while somebody is answered; else it is one that is due, and the longest so", () =>
  Effect.sync(() =>
    FastCheck.assert(
      FastCheck.property(FastCheck.array(candidate, { maxLength: 6 }), FastCheck.nat(40 * hourMs), (all, at) => {
        const nowMs = startMs + at
        expect(BaselineTurn.next(all, false, times, nowMs)).toBeUndefined()
        const chosen = BaselineTurn.next(all, true, times, nowMs)
        const dues = all.flatMap((one) => BaselineTurn.dueMs(one, times, nowMs) ?? [])
        const first = Math.min(...dues)
        if (chosen === undefined) expect(first).toBeGreaterThan(nowMs)
        else {
          expect(BaselineTurn.dueMs(chosen, times, nowMs)).toBe(first)
          expect(first).toBeLessThanOrEqual(nowMs)
        }
      }),
      { numRuns: 500 }
    )
  )
)
