/** Splits on computers that are busy otherwise: whichever part is held up, they answer as the whole model does. */
import { expect } from "bun:test"
import type * as DutyCycle from "@weft/infra/throttle/DutyCycle"
import * as Throttle from "@weft/infra/throttle/Throttle"
import { Effect } from "effect"
import { it } from "../support/effect.ts"
import { childrenOf, metric, ring, together, wholly } from "./rings.ts"

/** As many as take some pauses of every manner. */
const tokens = 96

/** Pauses under the 2 s after which a stage counts as stuck. */
const manners = (answersMs: number): ReadonlyArray<DutyCycle.Manner> => [
  { kind: "steady", pausedShare: 0.5 },
  { kind: "ramp", pausedShare: 0.8, overMs: answersMs },
  { kind: "jitter", leastMs: 20, mostMs: 200 }
]

it.live(
  "a split whose host, middle, tail, or a whole peer is held up in any manner answers as the whole model does",
  () =>
    Effect.gen(function* () {
      const wanted = yield* wholly(tokens)
      for (const one of wanted) expect(one).toMatchObject({ finished: "length", tokens })
      const { group, stages, url } = yield* ring(["0-3", "3-6", "6-8"])
      const before = yield* group
      const [took, unthrottled] = yield* Effect.timed(together(url, tokens))
      expect(unthrottled).toEqual(wanted)

      const children = yield* Effect.forEach(stages, childrenOf)
      expect(children.map(({ length }) => length)).toEqual([1, 1, 1])
      const wholePeer = [...(children[1] ?? []), Number(stages[1]?.process.pid)]
      for (const [index, worker] of [...children, wholePeer].entries()) {
        for (const manner of manners(Number(took) / 1e6)) {
          const held = Effect.gen(function* () {
            const throttle = yield* Throttle.make(worker, manner, index)
            expect(yield* together(url, tokens)).toEqual(wanted)
            expect(throttle.pauses()).toBeGreaterThan(2)
          })
          yield* Effect.scoped(held)
        }
      }

      expect(yield* group).toEqual(before)
      expect(yield* Effect.forEach(stages, childrenOf)).toEqual(children)
      for (const { statusUrl } of stages) expect(yield* metric(statusUrl, "weft_split_failures_total")).toBe(0)
      expect(yield* metric(url, "weft_split_peers_struck_off")).toBe(0)
      expect(yield* metric(url, "weft_route_failovers_total")).toBe(0)
    }),
  120_000
)
