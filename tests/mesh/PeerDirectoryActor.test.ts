/** The directory's actor on the test clock: silence, a crash with its recovery, and the bound of its mailbox. */
import { expect } from "bun:test"
import { MailboxFull } from "@weft/actors/ActorError"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import type { PeerId } from "@weft/mesh/PeerId"
import { type Clock, Effect, Exit, Fiber, TestClock } from "effect"
import { it } from "../support/effect.ts"
import { counted } from "./links.ts"
import { peerId, peerInfo } from "./peers.ts"

const silenceMsMax = 4_000
const load = { state: "ready", models: [] } as const
const there = Effect.map(
  Effect.map(PeerDirectoryActor, ({ unsafeSnapshot }) => unsafeSnapshot()),
  ({ peers }): ReadonlyArray<PeerId> => [...peers.keys()]
)
const register = (number: number, link = 1) =>
  Effect.flatMap(PeerDirectoryActor, ({ ref }) => ref.Register({ info: peerInfo(peerId(number), ["tiny"]), link }))
const beat = (number: number, link = 1) =>
  Effect.flatMap(PeerDirectoryActor, ({ ref }) => ref.Heartbeat({ peer: peerId(number), link, load }))
const sweep = Effect.flatMap(PeerDirectoryActor, ({ ref }) => ref.Sweep())

/** A clock that a test can stop in the middle of a turn, or break once. */
class Faulty {
  readonly latch = Effect.unsafeMakeLatch(true)
  breaks = false
  /** Returns `clock`, which the test goes on adjusting, with this fault in reading it. */
  readonly of = (clock: Clock.Clock): Clock.Clock => {
    const read = Effect.suspend(() => {
      if (!this.breaks) return Effect.zipRight(this.latch.await, clock.currentTimeMillis)
      this.breaks = false
      return Effect.dieMessage("the clock fell off the wall")
    })
    return Object.assign(Object.create(clock) as Clock.Clock, { currentTimeMillis: read })
  }
}

/** Runs `body` with a directory whose turns read the time from `faulty`. */
const withDirectory = <A, E>(body: (faulty: Faulty) => Effect.Effect<A, E, PeerDirectoryActor>) => {
  const faulty = new Faulty()
  return Effect.clockWith((clock) =>
    Effect.withClock(
      Effect.provide(
        Effect.suspend(() => body(faulty)),
        PeerDirectoryActor.layer(silenceMsMax)
      ),
      faulty.of(clock)
    )
  )
}

it.effect("a peer that is silent for longer than the bound is gone at the next sweep, one that beats stays", () =>
  withDirectory(() =>
    Effect.gen(function* () {
      yield* register(1)
      yield* register(2)
      yield* TestClock.adjust(silenceMsMax)
      yield* sweep
      expect(yield* there).toEqual([peerId(1), peerId(2)])
      expect(yield* beat(2)).toBe(true)
      yield* TestClock.adjust(1)
      yield* sweep
      expect(yield* there).toEqual([peerId(2)])
      expect(yield* counted("weft_peers", { state: "ready" })).toBe(1)
      expect(yield* counted("weft_peer_departures_total", { why: "silence" })).toBe(1)
      expect(yield* beat(1)).toBe(false)
    })
  )
)

it.effect("what comes over an older link of a peer changes nothing", () =>
  withDirectory(() =>
    Effect.gen(function* () {
      yield* register(1, 5)
      expect(yield* Effect.flip(register(1, 4))).toMatchObject({ _tag: "RegisterRefused", reason: "StaleLink" })
      expect(yield* beat(1, 4)).toBe(false)
      yield* Effect.flatMap(PeerDirectoryActor, ({ ref }) => ref.Leave({ peer: peerId(1), link: 4 }))
      expect(yield* there).toEqual([peerId(1)])
    })
  )
)

it.effect("after a crash the directory is empty, says so to heartbeats, and takes registrations again", () =>
  withDirectory((faulty) =>
    Effect.gen(function* () {
      yield* register(1)
      faulty.breaks = true
      expect(Exit.isFailure(yield* Effect.exit(beat(1)))).toBe(true)
      const again = yield* Effect.fork(beat(1))
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(again)).toBe(false)
      expect(yield* there).toEqual([])
      yield* register(1)
      expect(yield* there).toEqual([peerId(1)])
      expect(yield* beat(1)).toBe(true)
    })
  )
)

it.effect("a directory that crashes again and again gives up, and whoever joined it learns it", () =>
  withDirectory((faulty) =>
    Effect.gen(function* () {
      const { join } = yield* PeerDirectoryActor
      const joined = yield* Effect.fork(Effect.flip(join))
      for (let i = 0; i < 6; i++) {
        faulty.breaks = true
        const beating = yield* Effect.fork(Effect.exit(beat(1)))
        yield* TestClock.adjust("4 seconds")
        yield* Fiber.join(beating)
      }
      expect((yield* Fiber.join(joined))._tag).toBe("ChildFailed")
    })
  )
)

it.effect("a directory that is stuck takes a bounded number of messages and refuses the rest at once", () =>
  withDirectory((faulty) =>
    Effect.gen(function* () {
      yield* faulty.latch.close
      const beating = yield* Effect.forEach(
        Array.from({ length: 8_300 }, () => 1),
        () => Effect.fork(Effect.either(beat(1))),
        { concurrency: 1 }
      )
      yield* Effect.repeatN(Effect.yieldNow(), 10)
      const refused = yield* Effect.flip(beat(1))
      expect(refused).toBeInstanceOf(MailboxFull)
      yield* faulty.latch.open
      const answers = yield* Effect.forEach(beating, Fiber.join)
      // One turn runs while 8192 wait.
      expect(answers.filter((answer) => answer._tag === "Right").length).toBe(8_193)
      yield* register(1)
      expect(yield* beat(1)).toBe(true)
    })
  )
)
