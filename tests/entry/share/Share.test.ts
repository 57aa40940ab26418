/** Who answered how many requests: exact through restarts and failed writes, by day and week, old hours gone. */
import { expect } from "bun:test"
import { BunContext } from "@effect/platform-bun"
import { SqlClient } from "@effect/sql/SqlClient"
import * as Database from "@weft/entry/Database"
import { EntryConfig } from "@weft/entry/EntryConfig"
import { retention, Share } from "@weft/entry/share/Share"
import {
  dayHours,
  hourMs,
  modelsMax,
  otherModel,
  type ServedBy,
  ShareState,
  weekHours
} from "@weft/entry/share/ShareState"
import { Duration, Effect, FastCheck, Layer, TestClock } from "effect"
import { it } from "../../support/effect.ts"
import { folder } from "../support.ts"

/** Runs `body` in an entry that stops behind it; the database stays. */
const run = <A, E>(databasePath: string, body: Effect.Effect<A, E, Share | SqlClient>) =>
  Effect.provide(
    body,
    Share.layer.pipe(
      Layer.provideMerge(Database.layer),
      Layer.provide(EntryConfig.layer({ databasePath })),
      Layer.provide(BunContext.layer)
    )
  )

const count = (model: string, servedBy: ServedBy, requests: number, tokens = 10) =>
  Effect.map(Share, ({ record }) => {
    for (let done = 0; done < requests; done++) record({ model, servedBy, tokens })
  })

const rows = Effect.flatMap(SqlClient, (sql) => sql`SELECT sum(requests) AS requests FROM served_requests`)

it.effect("what was counted is there after a restart, to the last request, and goes on from there", () =>
  Effect.gen(function* () {
    const path = `${yield* folder}/entry.sqlite`
    const nothing = { requests: 0, mesh: 0, fallback: 0, refused: 0, mesh_share_pct: null }
    yield* run(
      path,
      Effect.gen(function* () {
        expect(yield* (yield* Share).summary).toEqual({ day: nothing, week: nothing })
        yield* count("m", "mesh", 3)
        yield* count("m", "fallback", 1)
        yield* count("n", "refused", 2, 0)
      })
    )
    yield* run(path, count("m", "mesh", 4))
    yield* TestClock.setTime(hourMs)
    const told = yield* run(
      path,
      Effect.gen(function* () {
        const share = yield* Share
        yield* count("m", "mesh", 1)
        return { ...(yield* share.summary), all: yield* share.hours(undefined, 24), now: yield* share.hours("m", 1) }
      })
    )
    const sums = { requests: 11, mesh: 8, fallback: 1, refused: 2, mesh_share_pct: 800 / 9 }
    expect([told.day, told.week]).toEqual([sums, sums])
    const row = { hourMs: 0, model: "m", tokens: 10, requests: 1 }
    expect(told.all).toEqual([
      { ...row, servedBy: "fallback" },
      { ...row, servedBy: "mesh", requests: 7, tokens: 70 },
      { ...row, model: "n", servedBy: "refused", requests: 2, tokens: 0 },
      { ...row, hourMs, servedBy: "mesh" }
    ])
    expect(told.now).toEqual([{ ...row, hourMs, servedBy: "mesh" }])
    expect(yield* run(path, rows)).toEqual([{ requests: 11 }])
  })
)

it.effect("counts are written every few seconds, without anybody asking", () =>
  Effect.gen(function* () {
    const path = `${yield* folder}/entry.sqlite`
    yield* run(
      path,
      Effect.gen(function* () {
        yield* count("m", "mesh", 5)
        expect(yield* rows).toEqual([{ requests: null }])
        yield* TestClock.adjust("5 seconds")
        expect(yield* rows).toEqual([{ requests: 5 }])
      })
    )
  })
)

it.effect("counts that cannot be written wait, and are written once when they can be", () =>
  Effect.gen(function* () {
    const path = `${yield* folder}/entry.sqlite`
    const writing = (sql: SqlClient, model: string) =>
      sql`CREATE TRIGGER refusing BEFORE INSERT ON served_requests WHEN NEW.model = ${sql.literal(`'${model}'`)}
        BEGIN SELECT RAISE(FAIL, 'no room'); END`
    yield* run(
      path,
      Effect.gen(function* () {
        const sql = yield* SqlClient
        // one of two rows is refused: none of both may be there
        yield* writing(sql, "n")
        yield* count("m", "mesh", 2)
        yield* count("n", "mesh", 3)
        yield* TestClock.adjust("5 seconds")
        expect(yield* rows).toEqual([{ requests: null }])
        expect((yield* (yield* Share).summary).day.mesh).toBe(5)
        yield* count("m", "mesh", 1)
        yield* TestClock.adjust("5 seconds")
        yield* sql`DROP TRIGGER refusing`
        yield* TestClock.adjust("5 seconds")
        expect(yield* rows).toEqual([{ requests: 6 }])
        expect((yield* (yield* Share).summary).day.mesh).toBe(6)
      })
    )
  })
)

it.effect("a day and a week are told apart, by whole hours", () =>
  Effect.sync(() => {
    const state = new ShareState([{ hourMs: 0, servedBy: "mesh", requests: 1 }], ["m"], 0)
    state.count({ model: "m", servedBy: "fallback", tokens: 0 }, dayHours * hourMs + 1)
    const told = [dayHours - 1, dayHours, weekHours - 1, weekHours, weekHours + dayHours].map((hour) =>
      [dayHours, weekHours].map((hours) => state.summary(hours, hour * hourMs + 59).requests)
    )
    expect(told).toEqual([
      [2, 2],
      [1, 2],
      [0, 2],
      [0, 1],
      [0, 0]
    ])
  })
)

it.effect("hours older than five weeks are removed", () =>
  Effect.gen(function* () {
    const path = `${yield* folder}/entry.sqlite`
    yield* run(path, count("m", "mesh", 1))
    yield* TestClock.setTime(hourMs)
    yield* run(path, count("m", "mesh", 2))
    yield* TestClock.setTime(Duration.toMillis(retention))
    expect(yield* run(path, Effect.zipRight(TestClock.adjust(0), rows))).toEqual([{ requests: 3 }])
    yield* TestClock.setTime(Duration.toMillis(retention) + hourMs)
    expect(yield* run(path, Effect.zipRight(TestClock.adjust(0), rows))).toEqual([{ requests: 2 }])
  })
)

it.effect("names of models that come without end are counted, and kept within a bound", () =>
  Effect.gen(function* () {
    const path = `${yield* folder}/entry.sqlite`
    const names = modelsMax + 50
    yield* run(
      path,
      Effect.gen(function* () {
        const { hours, record, summary } = yield* Share
        for (let number = 0; number < names; number++) record({ model: `m${number}`, servedBy: "mesh", tokens: 1 })
        const told = yield* hours(undefined, 1)
        expect(told.length).toBe(modelsMax + 1)
        expect(told.find(({ model }) => model === otherModel)?.requests).toBe(50)
        expect((yield* summary).day.requests).toBe(names)
      })
    )
    yield* run(
      path,
      Effect.gen(function* () {
        const { hours, record } = yield* Share
        record({ model: "one more", servedBy: "mesh", tokens: 1 })
        expect((yield* hours("one more", 1)).length).toBe(0)
        expect((yield* hours(otherModel, 1))[0]?.requests).toBe(51)
      })
    )
  })
)

const ended = FastCheck.record({
  model: FastCheck.constantFrom("a", "b"),
  servedBy: FastCheck.constantFrom("mesh" as const, "fallback" as const, "refused" as const),
  tokens: FastCheck.nat({ max: 100 }),
  atMs: FastCheck.nat({ max: 200 * hourMs })
})

it.prop(
  "however counts are taken, put back and read again, none is lost and none is there twice",
  FastCheck.array(FastCheck.oneof(ended, FastCheck.constantFrom("take", "put back")), { maxLength: 60 }),
  (steps) =>
    Effect.sync(() => {
      const state = new ShareState([], [], 0)
      const written: Array<ReturnType<ShareState["takePending"]>> = []
      for (const step of steps) {
        if (step === "take") written.push(state.takePending())
        else if (step === "put back") state.putBack(written.pop() ?? [])
        else if (typeof step === "object") state.count(step, step.atMs)
      }
      written.push(state.takePending())
      const all = steps.filter((step) => typeof step === "object")
      const sum = (numbers: ReadonlyArray<number>) => numbers.reduce((total, number) => total + number, 0)
      const told = written.flat()
      expect(sum(told.map(({ requests }) => requests))).toBe(all.length)
      expect(sum(told.map(({ tokens }) => tokens))).toBe(sum(all.map(({ tokens }) => tokens)))
      const again = new ShareState(told, [], 200 * hourMs)
      expect(again.summary(weekHours, 200 * hourMs)).toEqual(state.summary(weekHours, 200 * hourMs))
      expect(sum([...state.totals].map(({ requests }) => requests))).toBe(all.length)
    })
)
