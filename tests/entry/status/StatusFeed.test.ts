/** The feed of those who watch: the document at once, then changes at most once a second, heartbeats, bound and end. */
import { expect } from "bun:test"
import type { StatusDocument } from "@weft/entry/status/StatusDocument"
import * as StatusFeed from "@weft/entry/status/StatusFeed"
import { statusOf } from "@weft/entry/status/StatusModel"
import { Effect, Fiber, Queue, Stream, TestClock } from "effect"
import { it } from "../../support/effect.ts"
import { busyMesh } from "./busyMesh.ts"

const first = statusOf(busyMesh)
const decoder = new TextDecoder()

/** A feed whose document the test sets; `looks` counts how often it was made. */
const setUp = Effect.gen(function* () {
  const mesh = { document: first, looks: 0 }
  const feed = yield* StatusFeed.make(
    Effect.sync(() => {
      mesh.looks++
      return { document: mesh.document, json: JSON.stringify(mesh.document) }
    })
  )
  return { mesh, feed }
})

/** Watches, and takes events one by one. */
const watch = (feed: StatusFeed.StatusFeed) =>
  Effect.gen(function* () {
    const events = yield* Queue.unbounded<string>()
    const stream = yield* feed.watch
    const fiber = yield* Effect.forkScoped(
      Stream.runForEach(stream, (bytes) => Queue.offer(events, decoder.decode(bytes)))
    )
    return { events, fiber }
  })

const nameOf = (event: string): string | undefined => /^event: (\w+)$/m.exec(event)?.[1]
const documentOf = (event: string): StatusDocument => JSON.parse(/^data: (.*)$/m.exec(event)?.[1] ?? "")

it.effect("a watcher gets the document at once, and each change within a second", () =>
  Effect.gen(function* () {
    const { feed, mesh } = yield* setUp
    const { events } = yield* watch(feed)
    expect(documentOf(yield* Queue.take(events))).toEqual(first)
    yield* TestClock.adjust("1 second")
    expect(nameOf(yield* Queue.take(events))).toBe("status")
    mesh.document = { ...first, modelCount: 1 }
    mesh.document = { ...first, modelCount: 2 }
    yield* TestClock.adjust("1 second")
    expect(documentOf(yield* Queue.take(events)).modelCount).toBe(2)
    expect(yield* Queue.size(events)).toBe(0)
  })
)

it.effect(
  "while nothing changes but the time, a heartbeat comes every five seconds: a comment, and an event for pages",
  () =>
    Effect.gen(function* () {
      const { feed, mesh } = yield* setUp
      const { events } = yield* watch(feed)
      yield* TestClock.adjust("1 second")
      yield* Queue.takeN(events, 2)
      mesh.document = { ...first, generatedAtMs: 7, entry: { ...first.entry, uptimeSeconds: 7 } }
      yield* TestClock.adjust("10 seconds")
      const beats = yield* Queue.takeAll(events)
      expect([...beats]).toEqual([5, 10].map((at) => `: heartbeat\nevent: unchanged\ndata: ${(at + 1) * 1000}\n\n`))
    })
)

it.effect("nothing is made while nobody watches", () =>
  Effect.gen(function* () {
    const { feed, mesh } = yield* setUp
    yield* TestClock.adjust("10 seconds")
    expect(mesh.looks).toBe(0)
    const { fiber } = yield* watch(feed)
    yield* TestClock.adjust("1 second")
    yield* Fiber.interrupt(fiber)
    const { looks } = mesh
    yield* TestClock.adjust("10 seconds")
    expect(mesh.looks).toBe(looks)
  })
)

it.effect("one watcher more than may is refused, and let in when another has left", () =>
  Effect.gen(function* () {
    const { feed } = yield* setUp
    const watchers = yield* Effect.replicateEffect(watch(feed), StatusFeed.watchersMax)
    yield* Effect.forEach(watchers, ({ events }) => Queue.take(events))
    expect(yield* Effect.flip(feed.watch)).toBeInstanceOf(StatusFeed.TooManyWatchers)
    const [leaving] = watchers
    if (leaving !== undefined) yield* Fiber.interrupt(leaving.fiber)
    const { events } = yield* watch(feed)
    expect(nameOf(yield* Queue.take(events))).toBe("status")
  })
)

it.effect("when the feed closes every watcher's events end", () =>
  Effect.gen(function* () {
    const { feed } = yield* setUp
    const { events, fiber } = yield* watch(feed)
    yield* Queue.take(events)
    yield* feed.close
    yield* Fiber.join(fiber)
    const late = yield* watch(feed)
    yield* Fiber.join(late.fiber)
  })
)

it.effect("the noise of round trips is no change; a peer that is twice as far is one", () =>
  Effect.sync(() => {
    const rtt = (ms: number) =>
      statusOf({ ...busyMesh, reaches: new Map([...busyMesh.reaches].map(([id]) => [id, { address: "", rttMs: ms }])) })
    expect(StatusFeed.changingPart(rtt(40.1))).toBe(StatusFeed.changingPart(rtt(41.9)))
    expect(StatusFeed.changingPart(rtt(40))).not.toBe(StatusFeed.changingPart(rtt(80)))
  })
)
