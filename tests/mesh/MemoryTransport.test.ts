/** What only the memory network has: virtual time, seeds, partitions and faults. */
import { describe, expect } from "bun:test"
import { MemoryNetwork, type MemoryNetworkOptions } from "@weft/mesh/MemoryNetwork"
import * as MemoryTransport from "@weft/mesh/MemoryTransport"
import { type MeshStream, type Session, Transport } from "@weft/mesh/Transport"
import { Clock, Context, Effect, Fiber, Layer, Option, TestClock } from "effect"
import { it } from "../support/effect.ts"

const at = (name: string) =>
  Effect.map(Layer.build(MemoryTransport.layer({ name })), (context) => Context.get(context, Transport))

/** Runs `body` on a network with two endpoints and a session between them. */
const onNetwork = <A, E>(
  options: Partial<MemoryNetworkOptions>,
  body: (near: Session, far: Session, network: MemoryNetwork["Type"]) => Effect.Effect<A, E, never>
) =>
  Effect.gen(function* () {
    const [left, right] = [yield* at("left"), yield* at("right")]
    const dialling = yield* Effect.fork(left.dial("memory://right"))
    yield* TestClock.adjust("1 second")
    const near = yield* Fiber.join(dialling)
    return yield* body(near, yield* right.accept, yield* MemoryNetwork)
  }).pipe(Effect.scoped, Effect.provide(MemoryNetwork.layer(options)))

/** Lets virtual time pass in small steps, so that what each step starts is done before the next. */
const pass = (milliseconds: number) => Effect.repeatN(TestClock.adjust(50), milliseconds / 50 - 1)

const writeWords = (stream: MeshStream, count: number) =>
  Effect.forEach(
    Array.from({ length: count }, (_, index) => index),
    (index) => stream.write(Uint8Array.of(index)),
    { discard: true }
  )

/** Sends 50 messages and returns when each arrived, and how it ended. */
const trace = (seed: number) =>
  onNetwork({ seed, delayMs: 20, jitterMs: 30, streamCutPerMessage: 0.01 }, (near, far) =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const startMs = yield* Clock.currentTimeMillis
      const receiver = yield* Effect.fork(
        Effect.gen(function* () {
          const stream = yield* far.accept
          for (;;) {
            const next = yield* stream.read
            const atMs = (yield* Clock.currentTimeMillis) - startMs
            log.push(`${atMs.toFixed(3)} ${Option.isSome(next) ? next.value.join() : "end"}`)
            if (Option.isNone(next)) return
          }
        })
      )
      const stream = yield* near.open
      const sender = yield* Effect.fork(
        Effect.forEach(
          Array.from({ length: 50 }, (_, index) => index),
          (index) => Effect.zipRight(Effect.sleep(7), stream.write(Uint8Array.of(index)))
        ).pipe(Effect.zipRight(stream.end))
      )
      yield* pass(1_000)
      const ends = [yield* Fiber.await(sender), yield* Fiber.await(receiver)]
      return [...log, ...ends.map((exit) => exit._tag)]
    })
  )

describe("MemoryTransport", () => {
  it.effect("the same seed gives the same run, another seed another", () =>
    Effect.gen(function* () {
      const first = yield* trace(14)
      expect(first.length).toBeGreaterThan(10)
      expect(yield* trace(14)).toEqual(first)
      expect(yield* trace(15)).not.toEqual(first)
    })
  )

  it.effect("the round-trip time is the network's", () =>
    onNetwork({ delayMs: 40 }, (near) =>
      Effect.gen(function* () {
        yield* pass(2_000)
        expect((yield* near.stats).rttMs).toBeCloseTo(80, 0)
      })
    )
  )

  it.effect("a stream that is written to after one that was opened later arrives too", () =>
    onNetwork({ delayMs: 10 }, (near, far) =>
      Effect.gen(function* () {
        const [first, second] = [yield* near.open, yield* near.open]
        yield* second.write(Uint8Array.of(2))
        yield* first.write(Uint8Array.of(1))
        yield* pass(50)
        const reads = [yield* far.accept, yield* far.accept].map(({ read }) => read)
        const [one, other] = yield* Effect.all(reads, { concurrency: 2 })
        expect([one, other]).toEqual([Option.some(Uint8Array.of(2)), Option.some(Uint8Array.of(1))])
      })
    )
  )

  it.effect("a partition that heals within a second delays what was sent and loses nothing", () =>
    onNetwork({ delayMs: 5 }, (near, far, network) =>
      Effect.gen(function* () {
        const stream = yield* near.open
        yield* network.partition("right", "left")
        yield* writeWords(stream, 10)
        yield* stream.end
        const accepting = yield* Effect.fork(far.accept)
        yield* pass(1_000)
        expect(accepting.unsafePoll()).toBeNull()
        yield* network.heal("left", "right")
        yield* pass(100)
        const theirs = yield* Fiber.join(accepting)
        let seen = 0
        for (let next = yield* theirs.read; Option.isSome(next); next = yield* theirs.read) seen += next.value.length
        expect(seen).toBe(10)
      })
    )
  )

  it.effect("a partition is noticed as a lost session within 2 s of virtual time, by both sides", () =>
    onNetwork({ delayMs: 5 }, (near, far, network) =>
      Effect.gen(function* () {
        yield* pass(900)
        const both = yield* Effect.fork(Effect.all([near.closed, far.closed], { concurrency: 2 }))
        yield* network.partition("left", "right")
        yield* pass(1_000)
        expect(both.unsafePoll()).toBeNull()
        yield* pass(1_000)
        expect((yield* Fiber.join(both)).map((error) => error.reason)).toEqual(["Lost", "Lost"])
      })
    )
  )

  it.effect("a cut ends the session for both sides at once", () =>
    onNetwork({}, (near, far, network) =>
      Effect.gen(function* () {
        yield* network.cutSessions("right", "left")
        const [own, theirs] = yield* Effect.all([near.closed, far.closed])
        expect([own.reason, theirs.reason]).toEqual(["Lost", "Lost"])
      })
    )
  )

  it.effect("messages lose their session at the given rate", () =>
    onNetwork({ sessionLossPerMessage: 0.2 }, (near) =>
      Effect.gen(function* () {
        const closed = yield* Effect.fork(near.closed)
        yield* pass(10_000)
        expect((yield* Fiber.join(closed)).reason).toBe("Lost")
      })
    )
  )
})
