/**
 * What each hour measured of each model, kept in the database for 35 days. The hour that is not over is written again
 * and again; what an earlier run of the entry measured of it is weighed in by its answers.
 */
import { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import { Effect, type ParseResult, Schema } from "effect"
import { hourMs, hourOf } from "../share/ShareState.ts"
import type { MeasuredHour } from "./StatusHistory.ts"

/** Represents the kept hours. */
export interface MeasuredHours {
  /** Writes what the hour of `nowMs` measured so far, and forgets what is too old. */
  readonly write: (measured: ReadonlyArray<MeasuredHour>, nowMs: number) => Effect.Effect<void, SqlError>
  /** Returns the hours from `fromMs` on. */
  readonly since: (fromMs: number) => Effect.Effect<ReadonlyArray<MeasuredHour>, SqlError | ParseResult.ParseError>
}

/** Five whole weeks, so that a month can be held against the one before it. */
export const hoursKept = 35 * 24
/** Most models and modes written of one hour, those with the most answers: 35 days of them are about 20 MB. */
export const hourRowsMax = 256

/** Reads what an earlier run measured of the hour of `nowMs`. */
export const make = (nowMs: number): Effect.Effect<MeasuredHours, SqlError | ParseResult.ParseError, SqlClient> =>
  Effect.gen(function* () {
    const sql = yield* SqlClient
    const since: MeasuredHours["since"] = (fromMs) =>
      Effect.flatMap(
        sql`SELECT hour_ms AS hourMs, model, mode, samples, ttft_ms AS ttftMs, tokens_per_second AS tokensPerSecond
          FROM measured_hours WHERE hour_ms >= ${fromMs} ORDER BY hour_ms`,
        decodeRows
      )
    const begun = yield* since(hourOf(nowMs))
    const write = (measured: ReadonlyArray<MeasuredHour>) =>
      Effect.forEach(
        measured.toSorted((a, b) => b.samples - a.samples).slice(0, hourRowsMax),
        (hour) => {
          const row = weighed(
            begun.find((one) => isSame(one, hour)),
            hour
          )
          return sql`INSERT OR REPLACE INTO measured_hours ${sql.insert({
            hour_ms: row.hourMs,
            model: row.model,
            mode: row.mode,
            samples: row.samples,
            ttft_ms: row.ttftMs,
            tokens_per_second: row.tokensPerSecond
          })}`
        },
        { discard: true }
      )
    return {
      since,
      write: (measured, at) =>
        Effect.zipRight(
          write(measured),
          sql`DELETE FROM measured_hours WHERE hour_ms <= ${hourOf(at) - hoursKept * hourMs}`
        ).pipe(sql.withTransaction, Effect.asVoid)
    }
  })

/** Returns both parts of one hour together: medians weighed by their answers, which is near enough for a curve. */
export const weighed = (earlier: MeasuredHour | undefined, hour: MeasuredHour): MeasuredHour => {
  if (earlier === undefined) return hour
  const samples = earlier.samples + hour.samples
  const mean = (a: number, b: number): number => (a * earlier.samples + b * hour.samples) / samples
  return {
    ...hour,
    samples,
    ttftMs: mean(earlier.ttftMs, hour.ttftMs),
    tokensPerSecond:
      earlier.tokensPerSecond === null || hour.tokensPerSecond === null
        ? (hour.tokensPerSecond ?? earlier.tokensPerSecond)
        : mean(earlier.tokensPerSecond, hour.tokensPerSecond)
  }
}

// internal

const isSame = (one: MeasuredHour, other: MeasuredHour): boolean =>
  one.hourMs === other.hourMs && one.model === other.model && one.mode === other.mode

const decodeRows = Schema.decodeUnknown(
  Schema.Array(
    Schema.Struct({
      hourMs: Schema.Int,
      model: Schema.String,
      mode: Schema.Literal("solo", "split"),
      samples: Schema.Int,
      ttftMs: Schema.Number,
      tokensPerSecond: Schema.NullOr(Schema.Number)
    })
  )
)
