/** Many requests while hosts are killed and requests given up at random: all end, and nothing is left behind. */

import { expect } from "bun:test"
import { Effect, Random } from "effect"
import { it } from "../support/effect.ts"
import { answer, ask, askEndless, makeEngine, models } from "./asking.ts"

const requestsCount = 300

/** What a request may end with here. */
const ends = ["Finished", "engine_lost", "overloaded", "given up"]

it.live(
  "every request ends, whatever is killed and given up, and the engine answers afterwards",
  () =>
    Effect.gen(function* () {
      const engine = yield* makeEngine({ path: models.nano, slots: 4, queuedMax: 60 })
      const one = Effect.gen(function* () {
        yield* Effect.sleep(yield* Random.nextIntBetween(0, 3000))
        const maxTokens = yield* Random.nextIntBetween(1, 60)
        const patience = yield* Random.nextIntBetween(5, 1500)
        const given = yield* Effect.timeoutOption(answer(engine, askEndless({ maxTokens })), patience)
        if (given._tag === "None") return "given up"
        const { last, tokens } = given.value
        if (last?._tag === "Failed") return last.failure.code
        expect(tokens.length).toBe(maxTokens)
        return last?._tag ?? "nothing"
      })
      const kill = Effect.gen(function* () {
        yield* Effect.sleep(yield* Random.nextIntBetween(600, 1000))
        const processId = yield* engine.hostProcessId
        return processId !== undefined && process.kill(processId, "SIGKILL")
      })
      const [ended, kills] = yield* Effect.all(
        [Effect.replicateEffect(one, requestsCount, { concurrency: "unbounded" }), Effect.replicateEffect(kill, 3)],
        { concurrency: "unbounded" }
      )
      expect(ended.filter((end) => !ends.includes(end))).toEqual([])
      expect(ended.filter((end) => end === "Finished").length).toBeGreaterThan(0)
      yield* Effect.repeat(engine.load, { until: ({ active, queued }) => active + queued === 0 })
      expect((yield* answer(engine, ask("What is 3 plus 3?"))).text).toBe("3 plus 3 is 6.")
      expect((yield* engine.load).restarts).toBe(kills.filter((killed) => killed).length)
    }).pipe(Effect.withRandom(Random.make("engine soak"))),
  60_000
)
