/**
 * How long this computer takes for a layer of each model it lends layers of: what leases and pipelines measured last,
 * kept in a file of the owner's data directory. The peer says it to its entry, which plans with it; so that plans and
 * announcements stay still, a figure counts as another one only where it moved by more than a fifth.
 */
import { Clock, Duration, Effect, Option, Schedule, Schema, type Scope } from "effect"
import * as CalibrationFile from "../CalibrationFile.ts"
import { rowsMax } from "./StageWindow.ts"

/** Represents what of a measurement is known: the first decodes of a start, on one thread, or those of answers. */
export type LayerTimeSource = "start" | "answers"

/** Represents the times of one computer. */
export interface LayerTimes {
  /** Takes note of a measurement; one of a start counts only where nothing is known. */
  readonly note: (sha256: string, layerMs: number, source: LayerTimeSource) => void
  /** Returns the milliseconds of a layer for one row, as they are to be said now; none before a measurement. */
  readonly say: (sha256: string) => Effect.Effect<number | undefined>
  /** Waits until a figure is another than what was said of it, at most once a minute. */
  readonly changed: Effect.Effect<void>
}

/** Represents where times are kept, and for which engines. */
export interface LayerTimesOptions {
  /** The file; nothing is kept where absent. */
  readonly path: string | undefined
  /** Most threads of an engine. */
  readonly threadsMax: number
}

/** A figure that moved by less is the same: what else a computer does shakes its times by as much. */
export const changeMin = 0.2
/** A computer is busy or idle for minutes; each change costs its entry a plan. */
export const saidEvery = Duration.minutes(1)

/** Returns the times, as they were kept; they are written when one is said anew, and with the end of the scope. */
export const make = (options: LayerTimesOptions): Effect.Effect<LayerTimes, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { path, threadsMax } = options
    const keyOf = (sha256: string): string =>
      CalibrationFile.keyOf({ sha256, profile: "exact", threadsMax, prefillTokens: rowsMax })
    const kept = new Map(yield* entriesOf(path))
    const known = new Map<string, number>()
    const said = new Map<string, number>()
    let saidMs = Number.NEGATIVE_INFINITY

    const current = (sha256: string): number | undefined => known.get(sha256) ?? kept.get(keyOf(sha256))
    const save = Effect.suspend(() => {
      for (const [sha256, layerMs] of known) {
        kept.delete(keyOf(sha256))
        kept.set(keyOf(sha256), layerMs)
      }
      return known.size === 0 ? Effect.void : write(path, [...kept].slice(-entriesMax))
    })
    yield* Effect.addFinalizer(() => save)
    const isNews = (nowMs: number): boolean =>
      nowMs - saidMs >= Duration.toMillis(saidEvery) &&
      [...known].some(([sha256, layerMs]) => differs(said.get(sha256), layerMs))

    return {
      note: (sha256, layerMs, source) => {
        if (!(layerMs > 0 && layerMs <= layerMsMax)) return
        if (source === "answers" || current(sha256) === undefined) known.set(sha256, layerMs)
      },
      say: Effect.fnUntraced(function* (sha256) {
        const layerMs = current(sha256)
        if (layerMs === undefined || !differs(said.get(sha256), layerMs)) return said.get(sha256)
        said.set(sha256, layerMs)
        saidMs = yield* Clock.currentTimeMillis
        yield* save
        return layerMs
      }),
      changed: Effect.asVoid(
        Effect.repeat(Effect.map(Clock.currentTimeMillis, isNews), {
          until: (isNew) => isNew,
          schedule: Schedule.spaced(lookEvery)
        })
      )
    }
  })

// internal

/** Most entries of the file, the oldest go first: as many as of calibrations. */
const entriesMax = 128
/** The bound of an offer: 17 minutes a layer. */
const layerMsMax = 1e6
/** Nobody waits for news of a figure; a look compares a few numbers. */
const lookEvery = "5 seconds"

const differs = (before: number | undefined, now: number): boolean =>
  before === undefined || Math.abs(now - before) > before * changeMin

/** Represents the file. */
const Content = Schema.parseJson(
  Schema.Struct({
    version: Schema.Literal(1),
    entries: Schema.Array(
      Schema.Tuple(Schema.String, Schema.Number.pipe(Schema.positive(), Schema.lessThanOrEqualTo(layerMsMax)))
    ).pipe(Schema.maxItems(entriesMax))
  })
)

/** Returns what is kept; what cannot be read counts as unknown, and is measured again. */
const entriesOf = (path: string | undefined) =>
  Effect.fromNullable(path).pipe(
    Effect.flatMap((file) => Effect.tryPromise(() => Bun.file(file).text())),
    Effect.flatMap(Schema.decode(Content)),
    Effect.map(({ entries }) => entries),
    Effect.option,
    Effect.map(Option.getOrElse(() => []))
  )

const write = Effect.fnUntraced(function* (
  path: string | undefined,
  entries: ReadonlyArray<readonly [string, number]>
) {
  if (path === undefined) return
  const text = yield* Effect.orDie(Schema.encode(Content)({ version: 1, entries }))
  yield* Effect.tryPromise(() => Bun.write(path, text)).pipe(
    Effect.catchAll((error) => Effect.logWarning(`${path} cannot be written: ${error.message}`))
  )
})
