/** How pace is learnt from answers, case by case and over generated ones. */
import { expect } from "bun:test"
import * as Pace from "@weft/entry/routing/Pace"
import { Effect, FastCheck } from "effect"
import { it } from "../../support/effect.ts"

const learnt = (samples: ReadonlyArray<readonly [ttftMs: number, computedTokens: number]>, everyMs = 1_000) =>
  samples.reduce(
    (pace, [ttftMs, computedTokens], at) => Pace.learn(pace, { ttftMs, computedTokens }, at * everyMs),
    Pace.unknown
  )

it.effect("short prompts tell what every answer takes, long ones what a token takes", () =>
  Effect.sync(() => {
    const pace = learnt(Array.from({ length: 40 }, (_, at) => (at % 2 === 0 ? [50, 0] : [50 + 400 * 2, 400])))
    expect(pace.fixedMs).toBeCloseTo(50, 0)
    expect(pace.msPerToken).toBeCloseTo(2, 1)
    expect(Pace.predictMs(pace, 1_000)).toBeCloseTo(2_050, -2)
  })
)

it.effect("short prompts of which one block too few was counted do not make a peer fast or slow for long ones", () =>
  Effect.sync(() => {
    const before = learnt(Array(10).fill([1_300, 1_300]))
    for (const ttftMs of [15, 400]) {
      const after = Array(20)
        .fill([ttftMs, 70])
        .reduce((pace, [ttftMs, computedTokens]) => Pace.learn(pace, { ttftMs, computedTokens }, 9_000), before)
      expect(Math.abs(Pace.predictMs(after, 70) - ttftMs)).toBeLessThan(60)
      expect(Pace.predictMs(after, 1_300) / 1_300).toBeWithin(0.6, 1.6)
    }
  })
)

it.effect("numbers that no answer has leave a pace that can be used", () =>
  Effect.sync(() => {
    const pace = learnt([
      [1e308, 48],
      [1, 1e308],
      [1, 1e308],
      [50, 100]
    ])
    expect(Pace.predictMs(pace, 100)).toBeGreaterThanOrEqual(0)
  })
)

it.effect("a peer that slows to a third is known to within a fifth after five answers, one that recovers too", () =>
  Effect.sync(() => {
    const before = learnt(Array(10).fill([500, 500]))
    const slow = Array(5)
      .fill([1_500, 500])
      .reduce((pace, [ttftMs, computedTokens]) => Pace.learn(pace, { ttftMs, computedTokens }, 20_000), before)
    expect(Pace.predictMs(slow, 500)).toBeGreaterThan(1_200)
    const again = Array(5)
      .fill([500, 500])
      .reduce((pace, [ttftMs, computedTokens]) => Pace.learn(pace, { ttftMs, computedTokens }, 40_000), slow)
    expect(Pace.predictMs(again, 500)).toBeLessThan(650)
  })
)

it.effect(
  "what is remembered is believed for ten seconds; twice as long each time it proves right, up to minutes",
  () =>
    Effect.sync(() => {
      let pace = learnt([[500, 500]])
      let now = 0
      const lengths: Array<number> = []
      for (let trial = 0; trial < 7; trial++) {
        expect(Pace.isBelieved(pace, now + pace.believedForMs)).toBe(true)
        now += pace.believedForMs + 1
        expect(Pace.isBelieved(pace, now)).toBe(false)
        pace = Pace.learn(pace, { ttftMs: 500, computedTokens: 500 }, now)
        lengths.push(pace.believedForMs / 1_000)
      }
      expect(lengths).toEqual([20, 40, 80, 160, 300, 300, 300])
      expect(Pace.learn(pace, { ttftMs: 100, computedTokens: 500 }, now + 300_001).believedForMs).toBe(10_000)
    })
)

const awkward = FastCheck.oneof(
  FastCheck.double({ min: -1e9, max: 1e9 }),
  FastCheck.constantFrom(0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -1, 1e308)
)

it.prop(
  "whatever is measured, a pace predicts a finite time of at least 0, between the extremes it was told",
  FastCheck.array(FastCheck.tuple(awkward, awkward), { maxLength: 30 }),
  (samples) =>
    Effect.sync(() => {
      const pace = Pace.held(learnt(samples), samples[0]?.[0] ?? 0)
      for (const tokens of [0, 1, 100]) expect(Pace.predictMs(pace, tokens)).toBeGreaterThanOrEqual(0)
      const taken = samples.filter(([ttft, tokens]) => ttft >= 0 && tokens >= 0 && Number.isFinite(ttft + tokens))
      expect(pace.samples).toBe(taken.length)
      expect(pace.fixedMs).toBeLessThanOrEqual(Math.max(0, ...taken.map(([ttft]) => ttft)))
      expect(pace.holdMs).toBeGreaterThanOrEqual(0)
    })
)
