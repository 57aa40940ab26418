/** Splits over bad lines: far, uneven, slow and lossy. They answer as the whole model does, also when a stage dies. */
import { expect } from "bun:test"
import { Deferred, Effect, Fiber, Option } from "effect"
import { it } from "../support/effect.ts"
import { accepted, metric, ring, together, until, wholly } from "./rings.ts"

const tokens = 64
/** A country away over somebody's home network. */
const line = { delayMs: 20, jitterMs: 10, lossShare: 0.01, rateBitsPerSecond: 20e6 }

it.live(
  "a split over bad lines that guesses ahead answers as the whole model does, and when a stage is killed within",
  () =>
    Effect.gen(function* () {
      const wanted = yield* wholly(tokens)
      for (const one of wanted) expect(one).toMatchObject({ finished: "length", tokens })
      const { group, stages, url } = yield* ring(["0-3", "3-6", "6-8", "3-6"], line)
      const before = yield* until(group, (shown) => shown?.spares[0]?.state === "ready")

      expect(yield* together(url, tokens)).toEqual(wanted)
      expect(yield* accepted(stages)).toBeGreaterThan(0)
      expect((yield* group)?.epoch).toBe(before?.epoch ?? Number.NaN)
      expect(yield* metric(url, "weft_split_peers_struck_off")).toBe(0)

      const begun = yield* Deferred.make<void>()
      const someText = 60
      const answering = yield* Effect.fork(
        together(url, tokens, (texts) => {
          if (texts.every(({ length }) => length > someText)) Deferred.unsafeDone(begun, Effect.void)
        })
      )
      yield* Deferred.await(begun)
      expect(yield* Fiber.poll(answering)).toEqual(Option.none())
      yield* Effect.ignore(stages[1]?.process.kill("SIGKILL") ?? Effect.void)
      expect(yield* Fiber.join(answering)).toEqual(wanted)

      const after = yield* group
      expect(after?.epoch).toBe((before?.epoch ?? Number.NaN) + 1)
      expect(after?.stages.map(({ from, to }) => [from, to])).toEqual([
        [0, 3],
        [3, 6],
        [6, 8]
      ])
      expect(after?.stages[1]?.peer).toBe(before?.spares[0]?.peer ?? "")
      expect(yield* metric(url, "weft_route_failovers_total")).toBe(0)
      const lost = yield* Effect.forEach(stages, ({ lost }) => lost)
      expect(lost.reduce((sum, one) => sum + one, 0)).toBeGreaterThan(0)
    }),
  120_000
)
