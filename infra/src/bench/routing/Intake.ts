/**
 * What the directory and the measurements take in: heartbeats and samples at a steady rate, on one thread. What is
 * measured is kept for an hour, so the clock is put forward a minute each second, from an hour that is full on.
 */
import { Performance } from "@weft/entry/performance/Performance"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import { Clock, Effect, Layer } from "effect"
import * as Seeded from "../Seeded.ts"
import { modelsOf, peerCount } from "./Decisions.ts"
import { idOf, infoOf } from "./Simulation.ts"

/** Represents what a steady intake costs. */
export interface IntakeFigures {
  readonly seconds: number
  readonly heartbeats: number
  readonly samples: number
  /** Part of one processor that it took. */
  readonly processorPart: number
  /** How late the last of it was done, in milliseconds. */
  readonly lateMs: number
  /** Bytes of the heap after collection, when the hour was full, and at the end. */
  readonly heapBytes: readonly [number, number]
}

/** How often so many of each come. */
const stepMs = 100
const heartbeatsPerStep = 50
const samplesPerStep = 500
/** What the clock is put forward by in a step. */
const forwardMs = 6_000

/** Takes in 500 heartbeats and 5,000 samples a second from 500 peers, after so many minutes of samples at once. */
export const takeIn = (seconds: number, fullMinutes: number, seed: number): Promise<IntakeFigures> =>
  Effect.runPromise(
    Effect.flatMap(Effect.clock, (real) => {
      const hurried = new HurriedClock(real)
      const layer = Layer.merge(PeerDirectoryActor.layer(), Performance.layer)
      return run({ seconds, fullMinutes, seed }, hurried).pipe(
        Effect.provide(layer),
        Effect.scoped,
        Effect.withClock(hurried)
      )
    })
  )

// internal

/** A clock that may be put forward; waiting takes as long as it does. */
class HurriedClock implements Clock.Clock {
  readonly [Clock.ClockTypeId]: Clock.ClockTypeId = Clock.ClockTypeId
  readonly #real: Clock.Clock
  #aheadMs = 0

  constructor(real: Clock.Clock) {
    this.#real = real
  }

  forward(ms: number): void {
    this.#aheadMs += ms
  }

  readonly unsafeCurrentTimeMillis = (): number => this.#real.unsafeCurrentTimeMillis() + this.#aheadMs
  readonly unsafeCurrentTimeNanos = (): bigint =>
    this.#real.unsafeCurrentTimeNanos() + BigInt(this.#aheadMs) * 1_000_000n
  readonly currentTimeMillis = Effect.sync(this.unsafeCurrentTimeMillis)
  readonly currentTimeNanos = Effect.sync(this.unsafeCurrentTimeNanos)
  readonly sleep: Clock.Clock["sleep"] = (duration) => this.#real.sleep(duration)
}

interface IntakeOptions {
  readonly seconds: number
  readonly fullMinutes: number
  readonly seed: number
}

const run = Effect.fnUntraced(function* ({ fullMinutes, seconds, seed }: IntakeOptions, clock: HurriedClock) {
  const { ref, unsafeSnapshot } = yield* PeerDirectoryActor
  const measured = yield* Performance
  const seeded = Seeded.make(seed)
  for (let peer = 0; peer < peerCount; peer++)
    yield* ref.Register({ info: infoOf(peer, modelsOf(peer), 4), link: peer })
  let beats = 0
  const record = (): void => {
    clock.forward(forwardMs)
    for (let sample = 0; sample < samplesPerStep; sample++) {
      const peer = seeded.below(peerCount)
      const model = modelsOf(peer)[seeded.below(2)] ?? ""
      const figures = { ttftMs: 20 + seeded.below(900), tokensPerSecond: 1 + seeded.below(90) }
      measured.record({ peer: idOf(peer), model, mode: "solo" }, figures)
    }
  }
  const step = Effect.gen(function* () {
    for (let beat = 0; beat < heartbeatsPerStep; beat++) {
      const peer = beats++ % peerCount
      const models = modelsOf(peer).map((id) => ({ id, ready: true, active: seeded.below(4), queued: 0 }))
      yield* ref.Heartbeat({ peer: idOf(peer), link: peer, load: { state: "ready", models } })
    }
    record()
  })
  for (let at = 0; at < (fullMinutes * 60_000) / forwardMs; at++) record()
  const heapBefore = heapBytes()
  const processor = process.cpuUsage()
  const beganMs = performance.now()
  const steps = (seconds * 1_000) / stepMs
  for (let at = 1; at <= steps; at++) {
    yield* step
    const earlyMs = beganMs + at * stepMs - performance.now()
    if (earlyMs > 0) yield* Effect.sleep(earlyMs)
  }
  const tookMs = performance.now() - beganMs
  const { system, user } = process.cpuUsage(processor)
  if (unsafeSnapshot().peers.size !== peerCount) throw new Error("the directory lost peers")
  return {
    seconds,
    heartbeats: steps * heartbeatsPerStep,
    samples: steps * samplesPerStep,
    processorPart: (system + user) / 1_000 / tookMs,
    lateMs: Math.max(0, tookMs - seconds * 1_000),
    heapBytes: [heapBefore, heapBytes()] as const
  }
})

const heapBytes = (): number => {
  Bun.gc(true)
  return process.memoryUsage().heapUsed
}
