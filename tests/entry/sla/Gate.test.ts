/** What the gate says: every status of every tier, on both sides of each bound, and the model a chat begins with. */
import { expect } from "bun:test"
import { defaultModel } from "@weft/entry/sla/DefaultModel"
import { type Measured, type SlaStatus, verdict } from "@weft/entry/sla/Gate"
import { promiseOf, type TierName, tierNames } from "@weft/entry/sla/Tier"
import { ofVerdict } from "@weft/entry/sla/VerdictHeaders"
import { Effect, FastCheck } from "effect"
import { it } from "../../support/effect.ts"

const of = (ttftMs: number, tokensPerSecond?: number): Measured => ({ ttftMs, tokensPerSecond })

const table: ReadonlyArray<readonly [TierName, ReadonlyArray<Measured | undefined>, SlaStatus]> = [
  ["daily-driver", [], "no-peer-with-model"],
  ["daily-driver", [undefined, undefined], "no-measurements"],
  ["daily-driver", [of(3_000, 8)], "meets-sla"],
  ["daily-driver", [of(3_001, 8)], "ttft-too-high"],
  ["daily-driver", [of(3_000, 7.99)], "tps-too-low"],
  ["daily-driver", [of(3_001, 7.99)], "both-too-low"],
  ["daily-driver", [of(500)], "meets-sla"],
  ["daily-driver", [of(5_000)], "ttft-too-high"],
  ["daily-driver", [undefined, of(9_000, 1), of(100, 50)], "meets-sla"],
  ["capacity", [], "no-peer-with-model"],
  ["capacity", [undefined], "no-measurements"],
  ["capacity", [of(15_000, 0.8)], "meets-sla"],
  ["capacity", [of(15_001, 0.8)], "ttft-too-high"],
  ["capacity", [of(15_000, 0.79)], "tps-too-low"],
  ["capacity", [of(15_001, 0.79)], "both-too-low"],
  ["experimental", [], "no-peer-with-model"],
  ["experimental", [undefined], "meets-sla"],
  ["experimental", [of(600_000, 0.01)], "meets-sla"]
]

it.effect("every tier has every status where its bounds say so", () =>
  Effect.sync(() => {
    for (const [tier, candidates, status] of table) {
      const said = verdict(tier, candidates)
      expect([tier, candidates, said.status]).toEqual([tier, candidates, status])
      expect([said.candidates, said.tier]).toEqual([candidates.length, tier])
    }
  })
)

it.effect("a quick start of one peer and a good rate of another are nobody's answer", () =>
  Effect.sync(() => {
    const said = verdict("daily-driver", [of(500, 4), of(4_000, 30)])
    expect(said).toMatchObject({ status: "ttft-too-high", best: of(4_000, 30) })
    expect(verdict("daily-driver", [of(500, 7), of(9_000, 30)]).status).toBe("tps-too-low")
  })
)

it.effect("a verdict goes out as headers, without what is not known", () =>
  Effect.sync(() => {
    expect(ofVerdict(verdict("daily-driver", [of(1_234.6, 12.34)]))).toEqual({
      "x-weft-sla-status": "meets-sla",
      "x-weft-sla-tier": "daily-driver",
      "x-weft-sla-candidates": "1",
      "x-weft-sla-best-ttft-ms": "1235",
      "x-weft-sla-best-tps": "12.3"
    })
    expect(ofVerdict(verdict("capacity", [undefined]))).toEqual({
      "x-weft-sla-status": "no-measurements",
      "x-weft-sla-tier": "capacity",
      "x-weft-sla-candidates": "1"
    })
  })
)

const figures = FastCheck.record({
  ttftMs: FastCheck.double({ min: 0.1, max: 60_000, noNaN: true }),
  tokensPerSecond: FastCheck.option(FastCheck.double({ min: 0.01, max: 500, noNaN: true }), { nil: undefined })
})

it.prop(
  "the promise is kept exactly where one candidate keeps all of it, and whose figures are told is one of them",
  FastCheck.tuple(FastCheck.constantFrom(...tierNames), FastCheck.array(FastCheck.option(figures, { nil: undefined }))),
  ([tier, candidates]) =>
    Effect.sync(() => {
      const said = verdict(tier, candidates)
      const promise = promiseOf(tier)
      const keeps = (one: Measured) =>
        promise === undefined ||
        (one.ttftMs <= promise.ttftMsMax && (one.tokensPerSecond ?? 1e9) >= promise.tokensPerSecondMin)
      const measured = candidates.filter((one) => one !== undefined)
      const isKept = promise === undefined ? candidates.length > 0 : measured.some(keeps)
      expect(said.status === "meets-sla").toBe(isKept)
      expect(said.best === undefined ? measured.length === 0 : measured.includes(said.best)).toBe(true)
    }),
  { runs: 500 }
)

it.effect("a chat begins with a daily driver where one is served, whatever is faster beside it", () =>
  Effect.sync(() => {
    const models = {
      "quick-experiment": verdict("experimental", [of(10, 400)]),
      large: verdict("capacity", [of(100, 90)]),
      slow: verdict("daily-driver", [of(100, 2)]),
      unknown: verdict("daily-driver", [undefined]),
      good: verdict("daily-driver", [of(2_000, 9)]),
      better: verdict("daily-driver", [of(2_900, 20)]),
      gone: verdict("daily-driver", [])
    }
    const begin = (...names: ReadonlyArray<keyof typeof models>) =>
      defaultModel(names, (name) => Object.entries(models).find(([key]) => key === name)?.[1] ?? models.gone)
    const order = ["better", "good", "unknown", "slow", "large", "quick-experiment"] as const
    for (const [at, expected] of order.entries()) {
      expect(begin("gone", ...order.slice(at))).toBe(expected)
      expect(begin(...order.slice(at).toReversed(), "gone")).toBe(expected)
    }
    expect(begin("gone")).toBeUndefined()
    expect(begin()).toBeUndefined()
    const equal = () => models.unknown
    expect(defaultModel(["b", "a"], equal)).toBe("a")
  })
)
