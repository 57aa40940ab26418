/**
 * Who answered how many requests, kept in the database: counted in memory at the end of each request, written together
 * every few seconds and when the entry stops. A crash loses those seconds; nothing is ever counted twice, as what was
 * counted and what was written change places in one step.
 */
import { SqlClient } from "@effect/sql/SqlClient"
import { Context, Data, Duration, Effect, Layer, Schedule, Schema } from "effect"
import * as ShareMetrics from "./ShareMetrics.ts"
import {
  dayHours,
  type EndedRequest,
  hourMs,
  hourOf,
  type ShareHour,
  type ShareOfTime,
  ShareState,
  weekHours
} from "./ShareState.ts"

/** Counts who answered. */
export class Share extends Context.Tag("@weft/entry/Share")<
  Share,
  {
    /** Counts one request that has ended. */
    readonly record: (ended: EndedRequest) => void
    /** The last 24 hours and 7 days, up to the request that ended last. */
    readonly summary: Effect.Effect<{ readonly day: ShareOfTime; readonly week: ShareOfTime }>
    /**
     * Returns the last `count` hours that had requests, of one model or of all, the oldest first; at most `rowsMax`
     * rows. What cannot be read is logged and left out.
     */
    readonly hours: (model: string | undefined, count: number) => Effect.Effect<ReadonlyArray<ShareHour>>
  }
>() {
  static readonly layer: Layer.Layer<Share, ShareError, SqlClient> = Layer.scoped(
    Share,
    Effect.suspend(() => make)
  )
}

/** Represents counts that could not be read when the entry began. */
export class ShareError extends Data.TaggedError("ShareError")<{ readonly cause: unknown }> {
  override get message(): string {
    return "The requests of the last week cannot be read. Check the disk and WEFT_DATA_DIR."
  }
}

/** What a crash may lose; each writing waits for the disk once. */
export const writeEvery = Duration.seconds(5)
/** How long hours are kept: a month, and the days to look at it. */
export const retention = Duration.days(35)
/** Most rows of one reading. */
export const rowsMax = 50_000

// internal

const Row = Schema.Struct({
  hourMs: Schema.Int,
  model: Schema.String,
  servedBy: Schema.Literal("mesh", "fallback", "refused"),
  requests: Schema.Int,
  tokens: Schema.Int
})
const decodeRows = Schema.decodeUnknown(Schema.Array(Row))
const decodeSums = Schema.decodeUnknown(Schema.Array(Row.pick("hourMs", "servedBy", "requests")))
const decodeModels = Schema.decodeUnknown(Schema.Array(Row.pick("model")))

const make = Effect.gen(function* () {
  const sql = yield* SqlClient
  const clock = yield* Effect.clock
  const now = () => clock.unsafeCurrentTimeMillis()
  const state = yield* Effect.mapError(read(sql, now()), (cause) => new ShareError({ cause }))

  const insert = ({ hourMs: hour, model, requests, servedBy, tokens }: ShareHour) => sql`
    INSERT INTO served_requests (hour_ms, model, served_by, requests, tokens)
    VALUES (${hour}, ${model}, ${servedBy}, ${requests}, ${tokens})
    ON CONFLICT (hour_ms, model, served_by) DO UPDATE
    SET requests = requests + excluded.requests, tokens = tokens + excluded.tokens`

  const write = Effect.suspend(() => {
    const rows = state.takePending()
    if (rows.length === 0) return Effect.void
    return Effect.forEach(rows, insert, { discard: true }).pipe(
      sql.withTransaction,
      Effect.tapErrorCause(() => Effect.sync(() => state.putBack(rows))),
      Effect.catchAllCause((cause) =>
        Effect.logError("The counts of requests could not be written yet; they wait.", cause)
      ),
      // whoever stops meanwhile must not lose what was taken
      Effect.uninterruptible
    )
  })
  const forget = Effect.suspend(() => {
    const firstMs = hourOf(now() - Duration.toMillis(retention))
    return Effect.catchAll(sql`DELETE FROM served_requests WHERE hour_ms < ${firstMs}`, (error) =>
      Effect.logError("Old counts of requests could not be removed.", error)
    )
  })
  yield* Effect.addFinalizer(() => write)
  yield* Effect.forkScoped(Effect.repeat(write, Schedule.spaced(writeEvery)))
  yield* Effect.forkScoped(Effect.repeat(forget, Schedule.spaced("1 hour")))

  const summary = () => ({ day: state.summary(dayHours, now()), week: state.summary(weekHours, now()) })
  yield* ShareMetrics.observe({ totals: () => state.totals, summary })
  return Share.of({
    record: (ended) => state.count(ended, now()),
    summary: Effect.sync(summary),
    hours: (model, count) =>
      Effect.zipRight(write, select(sql, model, hourOf(now()) - (count - 1) * hourMs)).pipe(
        Effect.catchAll((error) => Effect.as(Effect.logError("Requests of past hours cannot be read.", error), []))
      )
  })
}).pipe(Effect.annotateLogs({ module: "Share" }))

/** Reads the sums of the last week, and the models of the hour that is not over. */
const read = Effect.fnUntraced(function* (sql: SqlClient, nowMs: number) {
  const sums = yield* sql`
    SELECT hour_ms AS hourMs, served_by AS servedBy, sum(requests) AS requests
    FROM served_requests WHERE hour_ms > ${hourOf(nowMs) - weekHours * hourMs} GROUP BY hour_ms, served_by`
  const models = yield* sql`SELECT DISTINCT model FROM served_requests WHERE hour_ms = ${hourOf(nowMs)}`
  const names = (yield* decodeModels(models)).map(({ model }) => model)
  return new ShareState(yield* decodeSums(sums), names, nowMs)
})

const select = (sql: SqlClient, model: string | undefined, fromMs: number) =>
  Effect.flatMap(
    sql`
      SELECT hour_ms AS hourMs, model, served_by AS servedBy, requests, tokens
      FROM served_requests WHERE hour_ms >= ${fromMs} ${model === undefined ? sql`` : sql`AND model = ${model}`}
      ORDER BY hour_ms, model, served_by LIMIT ${rowsMax}`,
    decodeRows
  )
