/** One series of samples: what an hour holds, whatever the order in which it was noted. */
import { expect } from "bun:test"
import * as State from "@weft/entry/performance/PerformanceState"
import { Effect, FastCheck } from "effect"
import { it } from "../../support/effect.ts"

const startMs = 1_700_000_000_000
const sample = FastCheck.record({
  ttftMs: FastCheck.double({ min: 0, max: 600_000, noNaN: true }),
  tokensPerSecond: FastCheck.option(FastCheck.double({ min: 0.01, max: 100_000, noNaN: true }), { nil: undefined })
})
const noted = FastCheck.tuple(sample, FastCheck.nat(4 * State.hourMs))
const hourOf = (all: ReadonlyArray<readonly [Parameters<typeof State.record>[1], number]>) =>
  all.reduce((hour, [sample, at]) => State.record(hour, sample, startMs + at), State.empty)

it.effect("the order of samples does not matter, and each is counted once", () =>
  Effect.sync(() =>
    FastCheck.assert(
      FastCheck.property(FastCheck.array(noted, { maxLength: 60 }), FastCheck.nat(5 * State.hourMs), (all, at) => {
        const hour = hourOf(all)
        const backwards = hourOf(all.toReversed())
        expect(backwards).toEqual(hour)
        expect(State.figuresOf(hour.all)?.samples ?? 0).toBe(all.length)
        const now = startMs + at
        expect(State.expire(backwards, now)).toEqual(State.expire(hour, now))
        expect(State.fromSteps(hour.steps)).toEqual(hour)
      }),
      { numRuns: 200 }
    )
  )
)

it.effect("what is an hour old is forgotten within five minutes, nothing younger is, and steps are few", () =>
  Effect.sync(() =>
    FastCheck.assert(
      FastCheck.property(FastCheck.array(noted, { maxLength: 60 }), FastCheck.nat(5 * State.hourMs), (all, at) => {
        const nowMs = startMs + at
        const known = all.filter(([, noted]) => noted <= at)
        const young = known.filter(([, noted]) => noted > at - State.hourMs).length
        const nearly = known.filter(([, noted]) => noted > at - State.hourMs - State.stepMs).length
        const hour = State.expire(hourOf(known), nowMs)
        const samples = State.figuresOf(hour.all)?.samples ?? 0
        expect(samples).toBeGreaterThanOrEqual(young)
        expect(samples).toBeLessThanOrEqual(nearly)
        expect(hour.steps.length).toBeLessThanOrEqual(15)
        expect(State.expire(hour, nowMs)).toBe(hour)
      }),
      { numRuns: 200 }
    )
  )
)

it.effect("steps that are ahead of the clock by more than ten minutes are left out: the clock was set back", () =>
  Effect.sync(() => {
    const ahead = State.record(State.empty, { ttftMs: 5, tokensPerSecond: 5 }, startMs + 3 * State.hourMs)
    expect(State.expire(ahead, startMs).steps).toEqual([])
    expect(State.expire(ahead, startMs + 3 * State.hourMs - State.skewMsMax).steps).toHaveLength(1)
  })
)

it.effect("the part of an hour since a moment is what its steps hold", () =>
  Effect.sync(() => {
    const clockHourMs = Math.floor(startMs / State.hourMs) * State.hourMs
    const hour = [-1, 0, 1].reduce(
      (hour, minutes) => State.record(hour, { ttftMs: 100, tokensPerSecond: 10 }, clockHourMs + minutes * 60_000),
      State.empty
    )
    expect(State.figuresOf(State.since(hour, undefined))?.samples).toBe(3)
    expect(State.figuresOf(State.since(hour, clockHourMs))?.samples).toBe(2)
    expect(State.figuresOf(State.since(hour, clockHourMs + State.hourMs))).toBeUndefined()
  })
)

it.effect("the slow end of times is the long one, of rates the low one", () =>
  Effect.sync(() => {
    const hundred = Array.from({ length: 100 }, (_, index) => index + 1)
    const hour = hundred.reduce(
      (hour, at) => State.record(hour, { ttftMs: at * 10, tokensPerSecond: at }, startMs),
      State.empty
    )
    const figures = State.figuresOf(hour.all)
    expect(figures?.ttftMs.p50).toBeCloseTo(500, -2)
    expect(figures?.ttftMs.p95).toBeGreaterThan(900)
    expect(figures?.tokensPerSecond?.p95).toBeLessThan(7)
  })
)
