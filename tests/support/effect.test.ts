/** The test functions themselves: which clock each runs on, and that generated values arrive. */
import { expect } from "bun:test"
import { Clock, Effect, FastCheck, Fiber, TestClock } from "effect"
import { it } from "./effect.ts"

it.effect("it.effect runs on the test clock: an hour passes when the test says so", () =>
  Effect.gen(function* () {
    const sleeper = yield* Effect.fork(Effect.sleep("1 hour"))
    yield* TestClock.adjust("1 hour")
    yield* Fiber.join(sleeper)
    expect(yield* Clock.currentTimeMillis).toBe(3_600_000)
  })
)

it.live("it.live runs on the real clock", () =>
  Effect.gen(function* () {
    expect(yield* Clock.currentTimeMillis).toBeGreaterThan(1_000_000_000_000)
  })
)

it.prop("it.prop gives the body generated values", FastCheck.integer(), (value) =>
  Effect.sync(() => expect(Number.isInteger(value)).toBe(true))
)

let openScopes = 0

it.prop(
  "it.prop gives each value a scope of its own, and a clock that stands at 0",
  FastCheck.integer({ min: 1, max: 1_000 }),
  (millis) =>
    Effect.gen(function* () {
      expect(openScopes).toBe(0)
      yield* Effect.acquireRelease(
        Effect.sync(() => openScopes++),
        () => Effect.sync(() => openScopes--)
      )
      expect(yield* Clock.currentTimeMillis).toBe(0)
      yield* TestClock.adjust(millis)
      expect(yield* Clock.currentTimeMillis).toBe(millis)
    }),
  { runs: 10 }
)
