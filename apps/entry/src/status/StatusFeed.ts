/**
 * The status for those who watch it, as server-sent events: the document at first and at each change, at most once a
 * second. Owns one fiber, which does nothing while nobody watches. A watcher who reads too slowly skips to what is new.
 */
import { Clock, Data, Deferred, Effect, PubSub, Schedule, type Scope, Stream } from "effect"
import type { StatusDocument } from "./StatusDocument.ts"

/** Most watchers at once; each costs a socket, and a document a second while much happens. */
export const watchersMax = 256

/** Represents a watcher who was not let in. */
export class TooManyWatchers extends Data.TaggedError("TooManyWatchers") {}

/** Represents the feed of one entry. */
export interface StatusFeed {
  /** Returns the events of one watcher, as bytes of `text/event-stream`; they end when the feed closes. */
  readonly watch: Effect.Effect<Stream.Stream<Uint8Array>, TooManyWatchers>
  /** Ends every watcher's events, and those of all who come later. */
  readonly close: Effect.Effect<void>
}

/** Represents the document and the same as JSON. */
export interface Told {
  readonly document: StatusDocument
  readonly json: string
}

/** How often is looked whether something changed. */
const lookEvery = "1 second"
/** Looks without a change until a heartbeat: proxies and Bun itself cut a stream that is quiet for 10 s. */
const heartbeatLooks = 5
/** Events that wait for a slow reader; while nothing changes they are heartbeats of 80 s, and silence is cut before. */
const backlogMax = 16

/** Makes a feed of `told`, which is fed for as long as the scope. */
export const make = (told: Effect.Effect<Told>): Effect.Effect<StatusFeed, never, Scope.Scope> =>
  Effect.gen(function* () {
    const events = yield* PubSub.sliding<Uint8Array>(backlogMax)
    const closed = yield* Deferred.make<void>()
    let watchers = 0
    let lastSaid = ""
    let quietLooks = 0
    const look = Effect.gen(function* () {
      if (watchers === 0) return
      const now = yield* told
      const said = changingPart(now.document)
      quietLooks = said === lastSaid ? quietLooks + 1 : 0
      if (said !== lastSaid) yield* PubSub.publish(events, statusEvent(now.json))
      else if (quietLooks % heartbeatLooks === 0) {
        yield* PubSub.publish(events, heartbeat(yield* Clock.currentTimeMillis))
      }
      lastSaid = said
    })
    yield* Effect.forkScoped(Effect.repeat(look, Schedule.spaced(lookEvery)))
    yield* Effect.addFinalizer(() => Deferred.succeed(closed, undefined))
    const enter = Effect.suspend(() =>
      watchers >= watchersMax ? new TooManyWatchers() : Effect.sync(() => watchers++)
    )
    const stream = Effect.gen(function* () {
      yield* Effect.acquireRelease(enter, () => Effect.sync(() => watchers--))
      const queue = yield* PubSub.subscribe(events)
      const first = statusEvent((yield* told).json)
      return Stream.concat(Stream.make(first), Stream.fromQueue(queue, { maxChunkSize: 1 }))
    })
    return {
      // Counted where the stream begins, as only that is sure to end.
      watch: Effect.suspend(() =>
        watchers >= watchersMax
          ? new TooManyWatchers()
          : Effect.succeed(
              Stream.unwrapScoped(stream).pipe(
                Stream.catchTag("TooManyWatchers", () => Stream.empty),
                Stream.interruptWhenDeferred(closed)
              )
            )
      ),
      close: Effect.asVoid(Deferred.succeed(closed, undefined))
    }
  })

/** Returns what of a document counts as a change: neither the time nor the noise of round trips. */
export const changingPart = ({ entry: _, generatedAtMs: __, links, ...rest }: StatusDocument): string =>
  JSON.stringify([links.total, rest], (key, value) => (/^(next)?rttMs$/i.test(key) ? roughly(value) : value))

// internal

/** Steps of a millisecond below ten, of ten above: finer ones tell nobody anything. */
const roughly = (value: unknown): unknown =>
  typeof value !== "number" ? value : value < 10 ? Math.round(value) : Math.round(value / 10) * 10

const encoder = new TextEncoder()

/** Two seconds until a lost watcher comes again. */
const statusEvent = (json: string): Uint8Array => encoder.encode(`retry: 2000\nevent: status\ndata: ${json}\n\n`)

/** A comment keeps proxies awake; the event tells pages, which see no comments, that what they show still holds. */
const heartbeat = (nowMs: number): Uint8Array => encoder.encode(`: heartbeat\nevent: unchanged\ndata: ${nowMs}\n\n`)
