/** When a peer, or the provider, gets no requests, and when it is tried again. */
import { expect } from "bun:test"
import * as Breaker from "@weft/entry/Breaker"
import { providerRules } from "@weft/entry/fallback/ProviderBreaker"
import { peerRules as rules } from "@weft/entry/routing/PeerRules"
import { Effect, FastCheck } from "effect"
import { it } from "../support/effect.ts"

const failing = (times: number, from: Breaker.Breaker, nowMs: number) =>
  Array.from({ length: times }).reduce<Breaker.Breaker>((breaker) => Breaker.failed(breaker, rules, nowMs, nowMs), from)
const passes = (breaker: Breaker.Breaker, nowMs: number) => Breaker.passes(breaker, rules, nowMs)

it.effect("three failures open it for a second, then one request is let through, and its answer closes it", () =>
  Effect.sync(() => {
    expect(passes(failing(2, Breaker.closed, 0), 0)).toBe(true)
    const open = failing(3, Breaker.closed, 0)
    expect([0, 999, 1_000].map((now) => passes(open, now))).toEqual([false, false, true])
    const trial = Breaker.sent(open, rules, 1_000)
    expect([1_000, 30_999, 31_000].map((now) => passes(trial, now))).toEqual([false, false, true])
    expect(passes(Breaker.begun(trial, rules, 1_000), 1_001)).toBe(true)
    expect(passes(Breaker.takenBack(trial, 1_000, 1_001), 1_001)).toBe(true)
  })
)

it.effect("a trial that fails doubles the time, up to a minute; answers make it forget", () =>
  Effect.sync(() => {
    let breaker = failing(3, Breaker.closed, 0)
    const lengths: Array<number> = []
    for (let trial = 0; trial < 8 && breaker._tag === "Open"; trial++) {
      lengths.push(breaker.openMs / 1_000)
      const { untilMs } = breaker
      breaker = Breaker.failed(Breaker.sent(breaker, rules, untilMs), rules, untilMs, untilMs)
    }
    expect(lengths).toEqual([1, 2, 4, 8, 16, 32, 60, 60])
    const healed = Breaker.begun(Breaker.sent(breaker, rules, 1e6), rules, 1e6)
    expect(passes(failing(1, healed, 1e6), 1e6 + 59_999)).toBe(false)
    const trusted = Array.from({ length: 8 }).reduce<Breaker.Breaker>(
      (one) => Breaker.answered(one, rules, 1e6),
      healed
    )
    expect(trusted).toBe(Breaker.closed)
  })
)

it.effect("what was sent before the trial tells nothing of now, whatever comes of it", () =>
  Effect.sync(() => {
    const trial = Breaker.sent(failing(3, Breaker.closed, 0), rules, 1_000)
    const healed = Breaker.begun(trial, rules, 1_000)
    for (const one of [trial, healed]) {
      expect(Breaker.failed(one, rules, 999, 1_500)).toBe(one)
      expect(Breaker.begun(one, rules, 999)).toBe(one)
      expect(Breaker.answered(one, rules, 999)).toBe(one)
      expect(Breaker.takenBack(one, 999, 1_500)).toBe(one)
    }
    expect(passes(Breaker.failed(healed, rules, 1_000, 1_500), 1_500)).toBe(false)
  })
)

it.effect("a clock that is set back keeps nobody out for longer than one that is not", () =>
  Effect.sync(() => {
    const day = 86_400_000
    const open = failing(3, Breaker.closed, day)
    expect(passes(open, 0)).toBe(true)
    const trial = Breaker.sent(open, rules, day + 1_000)
    expect(passes(trial, 0)).toBe(true)
    const healed = Breaker.begun(trial, rules, day + 1_000)
    expect(passes(Breaker.failed(Breaker.sent(healed, rules, 0), rules, 0, 0), 0)).toBe(false)
  })
)

/** What may befall it, at most seconds apart; `which` is the request it befalls, counted back from the last one. */
const step = FastCheck.record({
  kind: FastCheck.oneof(
    { weight: 3, arbitrary: FastCheck.constant("send" as const) },
    { weight: 2, arbitrary: FastCheck.constantFrom("begun", "answered", "failed", "failed", "takenBack") }
  ),
  which: FastCheck.nat({ max: 9 }),
  passedMs: FastCheck.integer({ min: 1, max: 4_000 })
})

it.prop(
  "never more than one trial is under way, what passes does so within the longest time, and it always recovers",
  FastCheck.tuple(FastCheck.constantFrom(rules, providerRules), FastCheck.array(step, { maxLength: 80, size: "max" })),
  ([rules, steps]) =>
    Effect.sync(() => {
      let breaker = Breaker.closed
      let nowMs = 0
      let underWay: Array<{ readonly sentMs: number; readonly isTrial: boolean }> = []
      const lost = ({ sentMs }: { readonly sentMs: number }) => nowMs - sentMs >= rules.trialMsMax
      for (const { kind, passedMs, which } of steps) {
        nowMs += passedMs
        if (kind === "send") {
          if (!Breaker.passes(breaker, rules, nowMs)) continue
          const isTrial = breaker._tag !== "Closed"
          if (isTrial) expect(underWay.filter((one) => one.isTrial && !lost(one))).toEqual([])
          breaker = Breaker.sent(breaker, rules, nowMs)
          underWay.push({ sentMs: nowMs, isTrial })
          continue
        }
        const one = underWay.at(-1 - which)
        if (one === undefined) continue
        if (kind === "begun") breaker = Breaker.begun(breaker, rules, one.sentMs)
        else underWay = underWay.filter((other) => other !== one)
        if (kind === "answered") {
          breaker = Breaker.answered(Breaker.begun(breaker, rules, one.sentMs), rules, one.sentMs)
        } else if (kind === "failed") breaker = Breaker.failed(breaker, rules, one.sentMs, nowMs)
        else if (kind === "takenBack") breaker = Breaker.takenBack(breaker, one.sentMs, nowMs)
        // begun, it is a trial no more
        if (kind === "begun") underWay = underWay.map((other) => (other === one ? { ...one, isTrial: false } : other))
      }
      nowMs += rules.openMsMax
      expect(Breaker.passes(breaker, rules, nowMs)).toBe(true)
      breaker = Breaker.begun(Breaker.sent(breaker, rules, nowMs), rules, nowMs)
      for (let count = 0; count < rules.faultsMax / rules.answerWorth; count++) {
        breaker = Breaker.answered(breaker, rules, nowMs)
      }
      expect(breaker).toBe(Breaker.closed)
    }),
  { runs: 5_000 }
)

it.prop(
  "as many failures as it bears open it, whatever was answered before, and answers between them hold it up",
  FastCheck.tuple(FastCheck.constantFrom(rules, providerRules), FastCheck.nat({ max: 50 })),
  ([rules, answers]) =>
    Effect.sync(() => {
      let breaker = Breaker.closed
      for (let count = 0; count < answers; count++) breaker = Breaker.answered(breaker, rules, count)
      for (let count = 1; count <= rules.faultsMax; count++) {
        expect(breaker._tag).toBe("Closed")
        breaker = Breaker.failed(breaker, rules, 100, 100)
      }
      expect(breaker._tag).toBe("Open")
      let rarely = Breaker.closed
      for (let round = 0; round < 50; round++) {
        rarely = Breaker.failed(rarely, rules, round, round)
        for (let good = 0; good < 1 / rules.answerWorth; good++) rarely = Breaker.answered(rarely, rules, round)
      }
      expect(rarely._tag).toBe("Closed")
    })
)
