/** A fast engine that is asked to be exact: a second host answers, and goes when nobody needs it any more. */
import { describe, expect } from "bun:test"
import { readdirSync, readFileSync } from "node:fs"
import type { GenerateEvent, Profile } from "@weft/engine/Generation"
import { touchy } from "@weft/infra/bench/model/Shape"
import { Duration, Effect, Random, Schedule } from "effect"
import { it } from "../support/effect.ts"
import { directory } from "../support/processes.ts"
import { answer, ask, greedy, makeEngine } from "./asking.ts"
import { writeModel } from "./looping.ts"

/** Returns the process ids of this process's children: field 4 of proc(5)'s stat is the parent. */
const children = (): ReadonlyArray<number> =>
  readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return []
    try {
      const fields = readFileSync(`/proc/${name}/stat`, "utf8").split(") ")[1]?.split(" ") ?? []
      return fields[0] !== "Z" && Number(fields[1]) === process.pid ? [Number(name)] : []
    } catch {
      // It ended while the list was read.
      return []
    }
  })

const randomModel = Effect.flatMap(directory, (folder) => Effect.promise(() => writeModel(folder, touchy)))

const code = (event: GenerateEvent | undefined) => (event?._tag === "Failed" ? event.failure.code : event?._tag)

const request = (index: number, profile: Profile) => {
  const tokens = [1, ...Array.from({ length: 5 + index * 23 }, (_, at) => 6 + ((at * 37 + index * 101) % 1000))]
  const sampling = index % 2 === 0 ? greedy : { ...greedy, temperature: 1, topK: 100, seed: index }
  return ask({ _tag: "Tokens", tokens }, { profile, sampling, maxTokens: 24 })
}

describe("a fast engine", () => {
  it.live(
    "answers exactly where it is asked to, whatever else it does, and then lets the second host go",
    () =>
      Effect.gen(function* () {
        const path = yield* randomModel
        const before = new Set(children())
        const engine = yield* makeEngine({ path, slots: 8, exactIdle: Duration.millis(300) })
        const hosts = () => children().filter((id) => !before.has(id))
        expect(hosts().length).toBe(1)
        const sure = yield* makeEngine({ path, slots: 1, profile: "exact" })
        const alone = yield* Effect.forEach([0, 1, 2, 3, 4, 5, 6, 7], (index) => answer(sure, request(index, "fast")))
        expect(hosts().length).toBe(2)
        const disturbed = Effect.fnUntraced(function* (index: number) {
          yield* Effect.sleep(yield* Random.nextIntBetween(0, 200))
          yield* Effect.fork(answer(engine, request(index, "fast")))
          return yield* answer(engine, request(index, "exact"))
        })
        for (let round = 0; round < 3; round++) {
          const together = yield* Effect.forEach(alone.keys(), disturbed, { concurrency: "unbounded" })
          expect(together.map(({ tokens }) => tokens)).toEqual(alone.map(({ tokens }) => tokens))
          expect(hosts().length).toBe(3)
        }
        yield* Effect.repeat(Effect.sync(hosts), {
          until: (ids) => ids.length === 2,
          schedule: Schedule.spaced("20 millis")
        })
        expect(code((yield* answer(engine, request(1, "exact"))).last)).toBe("Finished")
      }),
    30_000
  )

  it.live("that is exact answers as it does where fast is enough", () =>
    Effect.gen(function* () {
      const path = yield* randomModel
      const engine = yield* makeEngine({ path, profile: "exact" })
      const [exact, fast] = [yield* answer(engine, request(3, "exact")), yield* answer(engine, request(3, "fast"))]
      expect(fast.tokens).toEqual(exact.tokens)
    })
  )
})
