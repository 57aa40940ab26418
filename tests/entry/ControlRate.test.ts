/** The rate of calls on one link: honest beats pass, many are held, a flood is told from a burst. */
import { expect } from "bun:test"
import * as ControlRate from "@weft/entry/ControlRate"
import { Effect, FastCheck } from "effect"
import { it } from "../support/effect.ts"

/** Returns the verdicts on calls that come at these times. */
const verdicts = (times: ReadonlyArray<number>): ReadonlyArray<ControlRate.Verdict> => {
  let rate = ControlRate.make(times[0] ?? 0)
  return times.map((now) => {
    const [verdict, next] = ControlRate.call(rate, now)
    rate = next
    return verdict
  })
}
const every = (ms: number, count: number) => Array.from({ length: count }, (_, index) => 1_000 + index * ms)
const count = (all: ReadonlyArray<ControlRate.Verdict>, one: ControlRate.Verdict) =>
  all.filter((verdict) => verdict === one).length

it.effect("beats of a second pass for ever, also where a slow line delivers four of them together", () =>
  Effect.sync(() => {
    expect(new Set(verdicts(every(1_000, 500)))).toEqual(new Set(["Pass"]))
    const together = Array.from({ length: 400 }, (_, index) => 4_000 * Math.floor(index / 4))
    expect(new Set(verdicts(together))).toEqual(new Set(["Pass"]))
  })
)

it.effect("fifty calls a second are held for ever, all but four of each second; twice as many are a flood", () =>
  Effect.sync(() => {
    const fifty = verdicts(every(20, 50 * 60))
    expect(count(fifty, "Flood")).toBe(0)
    expect(count(fifty, "Pass")).toBeLessThanOrEqual(4 * 61)
    expect(count(fifty, "Pass")).toBeGreaterThanOrEqual(4 * 58)
    const hundred = verdicts(every(10, 100 * 3))
    expect(hundred.indexOf("Flood")).toBeGreaterThanOrEqual(150)
    expect(hundred).toContain("Flood")
    expect(verdicts(every(0, 101)).slice(99)).toEqual(["Hold", "Flood"])
  })
)

it.prop(
  "in no span of time do more calls pass, or are answered before the flood is told, than its length allows",
  FastCheck.array(
    FastCheck.oneof(FastCheck.integer({ min: 0, max: 30 }), FastCheck.integer({ min: -50, max: 2_000 })),
    {
      maxLength: 300
    }
  ),
  (gaps) =>
    Effect.sync(() => {
      let now = 10_000
      const times = gaps.map((gap) => (now += Math.max(gap, -now)))
      const all = verdicts(times)
      // A clock that steps back takes time away; what counts is the time that passed.
      const forward = times.map((time, index) => Math.max(0, time - (times[index - 1] ?? time)))
      for (let from = 0; from < all.length; from += 7) {
        let [seconds, passed, called] = [0, 0, 0]
        for (let at = from; at < all.length; at++) {
          if (at > from) seconds += (forward[at] ?? 0) / 1_000
          if (all[at] === "Pass") passed++
          if (all[at] !== "Flood") called++
          expect(passed).toBeLessThanOrEqual(4 + seconds * ControlRate.passedPerSecond + 1e-6)
          expect(called).toBeLessThanOrEqual(100 + seconds * ControlRate.calledPerSecond + 1e-6)
        }
      }
    })
)
