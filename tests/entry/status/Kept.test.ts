/** What the status keeps in the database: milestones for good, measured hours for 35 days, both through restarts. */
import { expect, test } from "bun:test"
import { BunContext } from "@effect/platform-bun"
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Database from "@weft/entry/Database"
import { EntryConfig } from "@weft/entry/EntryConfig"
import { hourMs } from "@weft/entry/share/ShareState"
import * as MeasuredHours from "@weft/entry/status/MeasuredHours"
import * as Milestones from "@weft/entry/status/Milestones"
import type { MeasuredHour } from "@weft/entry/status/StatusHistory"
import { Effect, Layer } from "effect"
import { it } from "../../support/effect.ts"
import { folder } from "../support.ts"

/** Runs one life of an entry on a database. */
const life = <A, E>(path: string, body: Effect.Effect<A, E, SqlClient>) =>
  Effect.provide(body, Layer.provide(Database.layer, [EntryConfig.layer({ databasePath: path }), BunContext.layer]))

const nowMs = 500_000 * hourMs + 60_000

const hour = (more: Partial<MeasuredHour> = {}): MeasuredHour => ({
  hourMs: 500_000 * hourMs,
  model: "m",
  mode: "solo",
  samples: 4,
  ttftMs: 100,
  tokensPerSecond: 10,
  ...more
})

it.live("a milestone is kept as it was reached first, also by the entry's next life", () =>
  Effect.gen(function* () {
    const path = `${yield* folder}/entry.sqlite`
    yield* life(
      path,
      Effect.gen(function* () {
        const kept = yield* Milestones.make
        yield* kept.reach([{ model: "m", milestone: "mesh", reachedAtMs: 5 }])
        yield* kept.reach([
          { model: "m", milestone: "mesh", reachedAtMs: 9 },
          { model: "m", milestone: "split", reachedAtMs: 9 }
        ])
        expect(kept.unsafeSnapshot()).toEqual(new Map([["m", { mesh: 5, split: 9 }]]))
      })
    )
    const again = yield* life(
      path,
      Effect.gen(function* () {
        const kept = yield* Milestones.make
        yield* kept.reach([{ model: "m", milestone: "mesh", reachedAtMs: 77 }])
        return kept.unsafeSnapshot()
      })
    )
    expect(again).toEqual(new Map([["m", { mesh: 5, split: 9 }]]))
  })
)

it.live("models beyond the bound reach no milestone; those that are known go on", () =>
  Effect.gen(function* () {
    const path = `${yield* folder}/entry.sqlite`
    const kept = yield* life(
      path,
      Effect.gen(function* () {
        const made = yield* Milestones.make
        const reach = (model: string, milestone: "mesh" | "split") => ({ model, milestone, reachedAtMs: 1 })
        const models = Array.from({ length: Milestones.milestoneModelsMax + 1 }, (_, index) => `m${index}`)
        yield* made.reach(models.map((model) => reach(model, "mesh")))
        yield* made.reach([reach("m0", "split")])
        return made.unsafeSnapshot()
      })
    )
    expect(kept.size).toBe(Milestones.milestoneModelsMax)
    expect(kept.get("m0")).toEqual({ mesh: 1, split: 1 })
  })
)

it.live("an hour is written over while it lasts, weighed with what an earlier life measured of it, and read back", () =>
  Effect.gen(function* () {
    const path = `${yield* folder}/entry.sqlite`
    yield* life(
      path,
      Effect.gen(function* () {
        const hours = yield* MeasuredHours.make(nowMs)
        yield* hours.write([hour({ samples: 1 })], nowMs)
        yield* hours.write([hour({ samples: 3 })], nowMs)
      })
    )
    const read = yield* life(
      path,
      Effect.gen(function* () {
        const hours = yield* MeasuredHours.make(nowMs)
        yield* hours.write([hour({ samples: 1, ttftMs: 500, tokensPerSecond: 50 })], nowMs)
        yield* hours.write([hour({ samples: 1, ttftMs: 500, tokensPerSecond: 50 })], nowMs)
        return yield* hours.since(0)
      })
    )
    expect(read).toEqual([hour({ samples: 4, ttftMs: 200, tokensPerSecond: 20 })])
  })
)

it.live("35 days are kept, and of one hour no more rows than the bound, those with the most answers", () =>
  Effect.gen(function* () {
    const path = `${yield* folder}/entry.sqlite`
    const read = yield* life(
      path,
      Effect.gen(function* () {
        const hours = yield* MeasuredHours.make(nowMs)
        const old = (hoursAgo: number) => hour({ hourMs: (500_000 - hoursAgo) * hourMs })
        yield* hours.write([old(MeasuredHours.hoursKept), old(MeasuredHours.hoursKept - 1)], nowMs - 1)
        const many = Array.from({ length: MeasuredHours.hourRowsMax + 1 }, (_, index) =>
          hour({ model: `m${index}`, samples: index + 1 })
        )
        yield* hours.write(many, nowMs)
        return yield* hours.since(0)
      })
    )
    expect(read).toHaveLength(MeasuredHours.hourRowsMax + 1)
    expect(read[0]?.hourMs).toBe((500_000 - MeasuredHours.hoursKept + 1) * hourMs)
    expect(read.some(({ model }) => model === "m0")).toBe(false)
  })
)

test("a rate that only one of two parts of an hour has is that part's", () => {
  const one = hour({ tokensPerSecond: null })
  const other = hour({ tokensPerSecond: 30 })
  expect(MeasuredHours.weighed(one, other).tokensPerSecond).toBe(30)
  expect(MeasuredHours.weighed(other, one).tokensPerSecond).toBe(30)
})
