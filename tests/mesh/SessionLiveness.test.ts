/** When the other side is given up, by ticks alone. */
import { describe, expect } from "bun:test"
import * as Liveness from "@weft/mesh/SessionLiveness"
import { Effect, FastCheck } from "effect"
import { it } from "../support/effect.ts"

/** Ticks at the given distances; `heard` says at which of them bytes had come. */
const run = (ticks: ReadonlyArray<{ readonly afterMs: number; readonly heard: boolean }>) => {
  let state = Liveness.initial(0)
  for (const { afterMs, heard } of ticks) {
    state = Liveness.tick(state, state.atMs + afterMs, state.bytesReceived + (heard ? 1 : 0))
    if (Liveness.isDead(state)) return { dead: true, atMs: state.atMs }
  }
  return { dead: false, atMs: state.atMs }
}

describe("SessionLiveness", () => {
  it.effect("a side that falls silent just after a tick is given up within 1.9 s", () =>
    Effect.sync(() => {
      const silent = Array.from({ length: 20 }, () => ({ afterMs: Liveness.tickMs + 1, heard: false }))
      const { dead, atMs } = run([{ afterMs: Liveness.tickMs, heard: true }, ...silent])
      expect(dead).toBe(true)
      expect(atMs).toBeGreaterThan(1_500)
      expect(atMs).toBeLessThanOrEqual(1_900)
    })
  )

  it.prop(
    "a side that is heard at every third tick lives, however long we stall",
    FastCheck.array(FastCheck.integer({ min: 1, max: 60_000 }), { minLength: 3, maxLength: 50 }),
    (stalls) =>
      Effect.sync(() => {
        const ticks = stalls.map((afterMs, index) => ({ afterMs, heard: index % 3 === 2 }))
        expect(run(ticks).dead).toBe(false)
      })
  )

  it.prop(
    "silence of five regular ticks is death, whatever came before",
    FastCheck.array(FastCheck.boolean()),
    (before) =>
      Effect.sync(() => {
        const ticks = [...before, false, false, false, false, false].map((heard) => ({
          afterMs: Liveness.tickMs,
          heard
        }))
        expect(run(ticks).dead).toBe(true)
      })
  )
})
