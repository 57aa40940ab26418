/** The bucket behind a limit: bounds and waiting times over generated histories of wishes. */
import { expect } from "bun:test"
import * as RateLimit from "@weft/entry/RateLimit"
import { Effect, FastCheck } from "effect"
import { it } from "../support/effect.ts"

const steps = FastCheck.array(
  FastCheck.record({ waitMs: FastCheck.nat(90_000), cost: FastCheck.nat(300), used: FastCheck.nat(600) }),
  { maxLength: 60 }
)

const runs = FastCheck.record({ perMinute: FastCheck.integer({ min: 1, max: 200 }), steps })

it.prop("in any minute no more is granted than one full bucket and one minute's fill", runs, ({ perMinute, steps }) =>
  Effect.sync(() => {
    let bucket = RateLimit.make(perMinute, 0)
    let nowMs = 0
    const grants: Array<{ readonly atMs: number; readonly cost: number }> = []
    for (const { waitMs, cost } of steps) {
      nowMs += waitMs
      const decision = RateLimit.take(bucket, cost, nowMs)
      bucket = decision.bucket
      if (decision.granted) grants.push({ atMs: nowMs, cost })
      const lastMinute = grants.filter(({ atMs }) => atMs > nowMs - 60_000).reduce((sum, grant) => sum + grant.cost, 0)
      expect(lastMinute).toBeLessThanOrEqual(2 * perMinute)
    }
  })
)

it.prop("the level stays within its bounds, and what is shown fits it", runs, ({ perMinute, steps }) =>
  Effect.sync(() => {
    let bucket = RateLimit.make(perMinute, 0)
    let nowMs = 0
    for (const { waitMs, cost, used } of steps) {
      nowMs += waitMs
      const decision = RateLimit.take(bucket, cost, nowMs)
      bucket = decision.granted ? RateLimit.settle(decision.bucket, cost, used, nowMs) : decision.bucket
      expect(bucket.parts).toBeLessThanOrEqual(perMinute * RateLimit.partsPerUnit)
      expect(bucket.parts).toBeGreaterThanOrEqual(-perMinute * RateLimit.partsPerUnit)
      expect(decision.remaining).toBeGreaterThanOrEqual(0)
      expect(Number.isInteger(decision.remaining)).toBe(true)
      expect(decision.resetMs).toBeGreaterThanOrEqual(0)
    }
  })
)

it.prop(
  "a refused wish is granted after exactly the time that was told, and the bucket is full after its reset",
  FastCheck.record({
    perMinute: FastCheck.integer({ min: 1, max: 10_000 }),
    cost: FastCheck.nat(10_000),
    drain: FastCheck.nat(10_000),
    earlierMs: FastCheck.nat(60_000)
  }),
  ({ perMinute, cost, drain, earlierMs }) =>
    Effect.sync(() => {
      const drained = RateLimit.take(RateLimit.make(perMinute, -earlierMs), Math.min(drain, perMinute), -earlierMs)
      const refused = RateLimit.take(drained.bucket, cost, 0)
      if (cost > perMinute) expect(refused.retryAfterMs).toBe(Number.POSITIVE_INFINITY)
      else if (refused.granted) expect(refused.retryAfterMs).toBe(0)
      else expect(RateLimit.take(refused.bucket, cost, refused.retryAfterMs).granted).toBe(true)
      if (!refused.granted && cost <= perMinute && refused.retryAfterMs > 0) {
        expect(RateLimit.take(refused.bucket, cost, refused.retryAfterMs - 1).granted).toBe(false)
      }
      expect(RateLimit.take(drained.bucket, perMinute, drained.resetMs - earlierMs).granted).toBe(true)
    }),
  { runs: 300 }
)

it.prop(
  "an estimate that is settled costs what was used",
  FastCheck.record({ taken: FastCheck.nat(1000), used: FastCheck.nat(1000) }),
  ({ taken, used }) =>
    Effect.sync(() => {
      const full = RateLimit.make(1000, 0)
      const settled = RateLimit.settle(RateLimit.take(full, taken, 0).bucket, taken, used, 0)
      expect(settled.parts).toBe((1000 - used) * RateLimit.partsPerUnit)
    })
)

it.effect("a clock that steps back neither fills nor drains", () =>
  Effect.sync(() => {
    const { bucket } = RateLimit.take(RateLimit.make(10, 60_000), 10, 60_000)
    expect(RateLimit.take(bucket, 1, 0).granted).toBe(false)
    expect(RateLimit.take(RateLimit.take(bucket, 0, 0).bucket, 10, 120_000).granted).toBe(true)
  })
)

it.effect("times are written as Go writes durations", () =>
  Effect.sync(() => {
    const written = [0, 0.2, 12, 999, 1000, 1500, 60_000, 360_000, 90_500, 3_600_000, 3_661_001].map(
      RateLimit.goDuration
    )
    expect(written).toEqual([
      "0s",
      "1ms",
      "12ms",
      "999ms",
      "1s",
      "1.5s",
      "1m0s",
      "6m0s",
      "1m30.5s",
      "1h0m0s",
      "1h1m1.001s"
    ])
  })
)
