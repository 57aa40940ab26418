/** When a peer gets no requests, and when it is tried again. */
import { expect } from "bun:test"
import * as Breaker from "@weft/entry/routing/Breaker"
import { Effect, FastCheck } from "effect"
import { it } from "../../support/effect.ts"

const failing = (times: number, from: Breaker.Breaker, nowMs: number) =>
  Array.from({ length: times }).reduce<Breaker.Breaker>((breaker) => Breaker.failed(breaker, nowMs), from)

it.effect("three failures open it for a second, then one request is let through, and its answer closes it", () =>
  Effect.sync(() => {
    expect(Breaker.passes(failing(2, Breaker.closed, 0), 0)).toBe(true)
    const open = failing(3, Breaker.closed, 0)
    expect([0, 999, 1_000].map((now) => Breaker.passes(open, now))).toEqual([false, false, true])
    const trial = Breaker.sent(open, 1_000)
    expect([1_000, 30_999, 31_000].map((now) => Breaker.passes(trial, now))).toEqual([false, false, true])
    expect(Breaker.passes(Breaker.begun(trial), 1_001)).toBe(true)
    expect(Breaker.passes(Breaker.takenBack(trial, 1_001), 1_001)).toBe(true)
  })
)

it.effect("a trial that fails doubles the time, up to a minute; answers make it forget", () =>
  Effect.sync(() => {
    let breaker = failing(3, Breaker.closed, 0)
    const lengths: Array<number> = []
    for (let trial = 0; trial < 8 && breaker._tag === "Open"; trial++) {
      lengths.push(breaker.openMs / 1_000)
      breaker = Breaker.failed(Breaker.sent(breaker, breaker.untilMs), breaker.untilMs)
    }
    expect(lengths).toEqual([1, 2, 4, 8, 16, 32, 60, 60])
    const healed = Breaker.begun(Breaker.sent(breaker, 1e6))
    expect(Breaker.passes(failing(1, healed, 1e6), 1e6 + 59_999)).toBe(false)
    const trusted = Array.from({ length: 8 }).reduce<Breaker.Breaker>((one) => Breaker.answered(one), healed)
    expect(trusted).toBe(Breaker.closed)
  })
)

it.prop(
  "whatever happens, it lets a request pass within a minute of the last one",
  FastCheck.array(FastCheck.constantFrom("sent", "begun", "answered", "failed", "takenBack"), { maxLength: 60 }),
  (steps) =>
    Effect.sync(() => {
      let breaker = Breaker.closed
      for (const [now, step] of steps.entries()) {
        if (step === "sent" && Breaker.passes(breaker, now)) breaker = Breaker.sent(breaker, now)
        else if (step === "begun") breaker = Breaker.begun(breaker)
        else if (step === "answered") breaker = Breaker.answered(breaker)
        else if (step === "failed") breaker = Breaker.failed(breaker, now)
        else if (step === "takenBack") breaker = Breaker.takenBack(breaker, now)
      }
      expect(Breaker.passes(breaker, steps.length + 60_000)).toBe(true)
    })
)
