/**
 * The status of the mesh as this entry sees it: made anew at most once a second, and only when somebody asks. Owns a
 * fiber that keeps milestones and measured hours, and the one that feeds those who watch.
 *
 *   directory, Elections, links, Performance, Share ─▶ StatusModel (pure) ─▶ document
 *   document ─▶ `/api/status`, page, feed, metrics
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import { Clock, Context, Duration, Effect, Layer, type ParseResult, Schedule, Schema } from "effect"
import { EntryConfig } from "../EntryConfig.ts"
import { EntryDescription } from "../EntryDescription.ts"
import { Elections } from "../election/Elections.ts"
import { Links } from "../Links.ts"
import { Performance } from "../performance/Performance.ts"
import { Share } from "../share/Share.ts"
import { hourMs, hourOf } from "../share/ShareState.ts"
import { tierOf } from "../sla/Tier.ts"
import * as MeasuredHours from "./MeasuredHours.ts"
import * as Milestones from "./Milestones.ts"
import { type History, StatusDocument } from "./StatusDocument.ts"
import * as StatusFeed from "./StatusFeed.ts"
import { historyOf, type MeasuredHour } from "./StatusHistory.ts"
import * as StatusMetrics from "./StatusMetrics.ts"
import { statusOf } from "./StatusModel.ts"

/** The lengths of history that are told, in hours: a day, a week, and all that is kept. */
export const historyLengths = [24, 7 * 24, MeasuredHours.hoursKept] as const
/** Represents one of them. */
export type HistoryLength = (typeof historyLengths)[number]

/** Tells how the mesh stands. */
export class Status extends Context.Tag("@weft/entry/Status")<
  Status,
  {
    /** Returns the document, at most a second old. */
    readonly told: Effect.Effect<StatusFeed.Told>
    /** Returns the last hours, at most 5 seconds old. */
    readonly history: (hours: HistoryLength) => Effect.Effect<History>
    readonly feed: StatusFeed.StatusFeed
  }
>() {
  static readonly layer: Layer.Layer<
    Status,
    SqlError | ParseResult.ParseError,
    EntryConfig | EntryDescription | Elections | Links | PeerDirectoryActor | Performance | Share | SqlClient
  > = Layer.scoped(
    Status,
    Effect.suspend(() => make)
  )
}

/** A second: who reloads costs the entry nothing, and nobody reads faster. */
const documentTtl = "1 second"
/** What an hour measured moves slowly; a look at 35 days of it reads some thousand rows. */
const historyTtl = "5 seconds"
/** How much of an hour a killed entry forgets. */
const keepEvery = Duration.seconds(5)

// internal

const encode = Schema.encodeSync(Schema.parseJson(StatusDocument))

const make = Effect.gen(function* () {
  const directory = yield* PeerDirectoryActor
  const elections = yield* Elections
  const links = yield* Links
  const performance = yield* Performance
  const share = yield* Share
  const { tiers, trust } = yield* EntryConfig
  const { peerId, version } = yield* EntryDescription
  const startedAtMs = yield* Clock.currentTimeMillis
  const milestones = yield* Milestones.make
  const hours = yield* MeasuredHours.make(startedAtMs)
  const history = yield* makeHistory(hours, share)
  const told = yield* Effect.cachedWithTTL(
    Effect.gen(function* () {
      const document = statusOf({
        nowMs: yield* Clock.currentTimeMillis,
        entry: { id: peerId, version, startedAtMs },
        directory: directory.unsafeSnapshot(),
        elections: elections.unsafeSnapshot(),
        trust,
        reaches: links.reaches(),
        performance,
        tierOf: (model) => tierOf(tiers, model),
        milestones: milestones.unsafeSnapshot(),
        share: yield* share.summary,
        history: yield* history(historyLengths[0])
      })
      return { document, json: encode(document) }
    }),
    documentTtl
  )

  let lastKept = "[]"
  const keep = Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    // Some milliseconds a model that many peers serve: answers under way come in between.
    const measured = (yield* Effect.forEach(directory.unsafeSnapshot().models.keys(), (model) =>
      Effect.zipRight(
        Effect.yieldNow(),
        Effect.sync(() => hoursToKeep(now).flatMap((fromMs) => measuredOf(performance, model, fromMs)))
      )
    )).flat()
    yield* milestones.reach(measured.flatMap((hour) => reachedBy(hour, now)))
    const said = JSON.stringify(measured)
    if (said !== lastKept) yield* hours.write(measured, now)
    lastKept = said
  }).pipe(Effect.catchAll((error) => Effect.logWarning("the history cannot be kept; it is tried again", error)))
  yield* Effect.addFinalizer(() => keep)
  yield* Effect.forkScoped(Effect.repeat(keep, Schedule.spaced(keepEvery)))
  yield* StatusMetrics.observe(Effect.map(told, ({ document }) => document))
  return { told, history, feed: yield* StatusFeed.make(told) }
}).pipe(Effect.annotateLogs({ module: "Status" }))

/** Reads a length of history, each once in its time to live. */
const makeHistory = Effect.fnUntraced(function* (hours: MeasuredHours.MeasuredHours, share: typeof Share.Service) {
  const readHistory = (length: HistoryLength) =>
    Effect.gen(function* () {
      const now = yield* Clock.currentTimeMillis
      const measured = yield* hours.since(hourOf(now) - (length - 1) * hourMs)
      return historyOf(measured, yield* share.hours(undefined, length), length, now)
    }).pipe(
      Effect.catchAll((error) =>
        Effect.zipRight(
          Effect.logWarning("the kept history cannot be read; it is left out", error),
          Effect.map(Clock.currentTimeMillis, (now) => historyOf([], [], length, now))
        )
      )
    )
  const [day, week, all] = yield* Effect.all([
    Effect.cachedWithTTL(readHistory(historyLengths[0]), historyTtl),
    Effect.cachedWithTTL(readHistory(historyLengths[1]), historyTtl),
    Effect.cachedWithTTL(readHistory(historyLengths[2]), historyTtl)
  ])
  return (length: HistoryLength) => (length === historyLengths[0] ? day : length === historyLengths[1] ? week : all)
})

const modes = ["solo", "split"] as const

/** The hour that is not over, and for a while the one before it: its last answers came after it was written last. */
const hoursToKeep = (nowMs: number): ReadonlyArray<number> => [
  ...new Set([hourOf(nowMs - 2 * Duration.toMillis(keepEvery)), hourOf(nowMs)])
]

const measuredOf = (
  performance: typeof Performance.Service,
  model: string,
  fromMs: number
): ReadonlyArray<MeasuredHour> =>
  modes.flatMap((mode) => {
    const figures = performance.ofModel(model, mode, fromMs)
    return figures === undefined
      ? []
      : [
          {
            hourMs: fromMs,
            model,
            mode,
            samples: figures.samples,
            ttftMs: figures.ttftMs.p50,
            tokensPerSecond: figures.tokensPerSecond?.p50 ?? null
          }
        ]
  })

/** A measured answer is the proof that a model was served. */
const reachedBy = ({ mode, model }: MeasuredHour, reachedAtMs: number): ReadonlyArray<Milestones.Milestone> => [
  { model, milestone: "mesh", reachedAtMs },
  ...(mode === "split" ? [{ model, milestone: "split" as const, reachedAtMs }] : [])
]
