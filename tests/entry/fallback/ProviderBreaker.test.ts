/** When the provider is left alone: what each request tells its breaker, whatever order requests end in. */
import { expect } from "bun:test"
import type { Breaker } from "@weft/entry/Breaker"
import { type Attempt, ProviderBreaker, providerRules } from "@weft/entry/fallback/ProviderBreaker"
import { Effect, FastCheck } from "effect"
import { it } from "../../support/effect.ts"

const times = { slowMs: 15_000, patienceMs: 5_000 }
const { faultsMax, openMsMin, openMsMax, trialMsMax } = providerRules

/** A breaker with what it told; its requests are sent at 0 where they open it. */
const make = () => {
  const told: Array<Breaker["_tag"]> = []
  const breaker = new ProviderBreaker(times, ({ _tag }) => told.push(_tag))
  const fail = (nowMs: number) => breaker.sent(nowMs).ended("failed", nowMs)
  return { breaker, told, fail }
}

it.effect("failures in a row open it, one request is let through after the pause, and its text closes it", () =>
  Effect.sync(() => {
    const { breaker, fail, told } = make()
    for (let count = 0; count < faultsMax; count++) {
      expect(breaker.passes(count)).toBe(true)
      fail(0)
    }
    expect([0, openMsMin - 1, openMsMin].map((now) => breaker.passes(now))).toEqual([false, false, true])
    const trial = breaker.sent(openMsMin)
    expect([openMsMin, openMsMin + 14_000].map((now) => breaker.passes(now))).toEqual([false, false])
    trial.text(openMsMin + 1_000)
    expect(breaker.passes(openMsMin + 1_000)).toBe(true)
    trial.ended("whole", openMsMin + 2_000)
    expect(told).toEqual(["Open", "HalfOpen", "Closed"])
  })
)

it.effect("each trial that fails doubles the pause, up to five minutes", () =>
  Effect.sync(() => {
    const { breaker, fail } = make()
    for (let count = 0; count < faultsMax; count++) fail(0)
    const pauses: Array<number> = []
    let nowMs = 0
    for (let trial = 0; trial < 8; trial++) {
      const sinceMs = nowMs
      while (!breaker.passes(nowMs)) nowMs += 1_000
      pauses.push((nowMs - sinceMs) / 1_000)
      fail(nowMs)
    }
    expect(pauses).toEqual([5, 10, 20, 40, 80, 160, 300, 300])
  })
)

it.effect("a first text that is far too late is a failure, and so is a client that gave up after a fair wait", () =>
  Effect.sync(() => {
    const waits: Readonly<Record<string, (attempt: Attempt) => void>> = {
      late: (attempt) => attempt.text(15_001),
      "gave up": (attempt) => attempt.ended("left", 5_001)
    }
    const tellNothing: Readonly<Record<string, (attempt: Attempt) => void>> = {
      "in time": (attempt) => attempt.text(15_000),
      hasty: (attempt) => attempt.ended("left", 5_000),
      rejected: (attempt) => attempt.ended("rejected", 100),
      "left within": (attempt) => {
        attempt.text(100)
        attempt.ended("left", 60_000)
      }
    }
    for (const [acts, isOpen] of [
      [waits, true],
      [tellNothing, false]
    ] as const) {
      for (const [what, act] of Object.entries(acts)) {
        const { breaker } = make()
        for (let count = 0; count < 10; count++) act(breaker.sent(0))
        expect([what, breaker.passes(15_001)]).toEqual([what, !isOpen])
      }
    }
  })
)

it.effect("one failure in five of a long row of answers opens it, one in ten never does", () =>
  Effect.sync(() => {
    for (const [oneIn, opens] of [
      [4, true],
      [10, false]
    ] as const) {
      const { breaker, told } = make()
      for (let nowMs = 1; nowMs <= 200; nowMs++) {
        const attempt = breaker.sent(nowMs)
        if (nowMs % oneIn !== 0) attempt.text(nowMs)
        attempt.ended(nowMs % oneIn === 0 ? "failed" : "whole", nowMs)
      }
      expect([oneIn, told.includes("Open")]).toEqual([oneIn, opens])
    }
  })
)

it.effect("a trial whose client leaves, or whose request is wrong, is no trial: the next request is", () =>
  Effect.sync(() => {
    for (const outcome of ["left", "rejected"] as const) {
      const { breaker, fail } = make()
      for (let count = 0; count < faultsMax; count++) fail(0)
      breaker.sent(openMsMin).ended(outcome, openMsMin + 10)
      expect(breaker.passes(openMsMin + 10)).toBe(true)
      breaker.sent(openMsMin + 10)
      expect(breaker.passes(openMsMin + 11)).toBe(false)
    }
  })
)

/** Failures twice, so that it opens often. */
const outcomes = ["text", "whole", "failed", "failed", "rejected", "left"] as const

const step = FastCheck.record({
  /** More often sent than ended, so that many are under way. */
  kind: FastCheck.oneof(
    { weight: 3, arbitrary: FastCheck.constant("send" as const) },
    { weight: 2, arbitrary: FastCheck.constantFrom(...outcomes) }
  ),
  which: FastCheck.nat({ max: 30 }),
  passedMs: FastCheck.oneof(FastCheck.nat({ max: 50 }), FastCheck.nat({ max: 8_000 }))
})

it.prop(
  "whatever clients and provider do, one trial at a time is under way, and a provider that is well is asked again",
  FastCheck.array(step, { maxLength: 120, size: "max" }),
  (steps) =>
    Effect.sync(() => {
      const { breaker, told } = make()
      let nowMs = 1
      /** Sent while it was not closed, silent since. */
      let trials: Array<{ readonly attempt: Attempt; readonly sentMs: number }> = []
      const underWay: Array<Attempt> = []
      const isClosed = () => told.length === 0 || told.at(-1) === "Closed"
      for (const { kind, passedMs, which } of steps) {
        nowMs += passedMs
        // what tells nothing for so long has failed in any case
        trials = trials.filter(({ sentMs }) => nowMs - sentMs < trialMsMax)
        if (kind === "send") {
          if (!breaker.passes(nowMs)) continue
          const isTrial = !isClosed()
          const attempt = breaker.sent(nowMs)
          if (isTrial) trials.push({ attempt, sentMs: nowMs })
          underWay.push(attempt)
          expect(trials.length).toBeLessThan(2)
          continue
        }
        const [attempt] = underWay.splice(which % Math.max(1, underWay.length), 1)
        if (attempt === undefined) continue
        if (kind === "text" || kind === "whole") attempt.text(nowMs)
        if (kind === "text") underWay.push(attempt)
        else attempt.ended(kind, nowMs)
        trials = trials.filter((trial) => trial.attempt !== attempt)
      }
      nowMs += openMsMax
      expect(breaker.passes(nowMs)).toBe(true)
      const attempt = breaker.sent(nowMs)
      attempt.text(nowMs + 1)
      attempt.ended("whole", nowMs + 2)
      expect([breaker.passes(nowMs + 3), isClosed()]).toEqual([true, true])
    }),
  { runs: 5_000 }
)
