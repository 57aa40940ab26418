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

/** Two sides that hear nothing but each other's pings and their answers, for 20 s, millisecond by millisecond. */
const idle = (phaseMs: number, delayMs: number) => {
  const sides = [0, phaseMs].map((firstMs) => ({ firstMs, state: Liveness.initial(0), received: 0, silentMs: 0 }))
  const arriving = new Map<number, Array<() => void>>()
  const later = (atMs: number, act: () => void) => arriving.set(atMs, [...(arriving.get(atMs) ?? []), act])
  let pings = 0
  for (let nowMs = 0; nowMs < 20_000; nowMs++) {
    for (const act of arriving.get(nowMs) ?? []) act()
    for (const [index, side] of sides.entries()) {
      const other = sides[1 - index]
      if (other === undefined || (nowMs - side.firstMs) % Liveness.tickMs !== 0) continue
      side.state = Liveness.tick(side.state, nowMs, side.received)
      side.silentMs = Math.max(side.silentMs, side.state.silenceMs)
      if (!Liveness.wantsPing(side.state)) continue
      pings++
      later(nowMs + delayMs, () => other.received++)
      later(nowMs + 2 * delayMs, () => side.received++)
    }
  }
  return { pings, silentMs: Math.max(...sides.map(({ silentMs }) => silentMs)) }
}

describe("SessionLiveness", () => {
  it.prop(
    "two idle sides ping in turn, once in a tick at most, and neither hears nothing for three ticks",
    FastCheck.tuple(
      FastCheck.integer({ min: 0, max: Liveness.tickMs - 1 }),
      FastCheck.integer({ min: 1, max: Liveness.tickMs })
    ),
    (drawn) =>
      Effect.sync(() => {
        const [phaseMs, delayMs] = drawn
        const { pings, silentMs } = idle(phaseMs, delayMs)
        expect(silentMs).toBeLessThanOrEqual(2 * Liveness.tickMs)
        // Both in the same tick is the exception: they begin so, or are as far apart as a way takes.
        expect(pings).toBeLessThanOrEqual((1.1 * 20_000) / Liveness.tickMs)
      })
  )

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
