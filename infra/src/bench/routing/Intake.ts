/** What the directory and the measurements take in: heartbeats and samples at a steady rate, on one thread. */
import { Performance } from "@weft/entry/performance/Performance"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import { Effect, Layer } from "effect"
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
  /** Bytes of the heap after collection, when everything was known once, and at the end. */
  readonly heapBytes: readonly [number, number]
}

/** How often so many of each come. */
const stepMs = 100
const heartbeatsPerStep = 50
const samplesPerStep = 500

/** Takes in 500 heartbeats and 5,000 samples a second from 500 peers. */
export const takeIn = (seconds: number, seed: number): Promise<IntakeFigures> =>
  Effect.runPromise(
    Effect.scoped(Effect.provide(run(seconds, seed), Layer.merge(PeerDirectoryActor.layer(), Performance.layer)))
  )

// internal

const run = Effect.fnUntraced(function* (seconds: number, seed: number) {
  const { ref, unsafeSnapshot } = yield* PeerDirectoryActor
  const measured = yield* Performance
  const seeded = Seeded.make(seed)
  for (let peer = 0; peer < peerCount; peer++)
    yield* ref.Register({ info: infoOf(peer, modelsOf(peer), 4), link: peer })
  let beats = 0
  const step = Effect.gen(function* () {
    for (let beat = 0; beat < heartbeatsPerStep; beat++) {
      const peer = beats++ % peerCount
      const models = modelsOf(peer).map((id) => ({ id, ready: true, active: seeded.below(4), queued: 0 }))
      yield* ref.Heartbeat({ peer: idOf(peer), link: peer, load: { state: "ready", models } })
    }
    for (let sample = 0; sample < samplesPerStep; sample++) {
      const peer = seeded.below(peerCount)
      const model = modelsOf(peer)[seeded.below(2)] ?? ""
      const figures = { ttftMs: 20 + seeded.below(900), tokensPerSecond: 1 + seeded.below(90) }
      measured.record({ peer: idOf(peer), model, mode: "solo" }, figures)
    }
  })
  // Until every peer and model was measured in every bin that it has.
  yield* Effect.repeatN(step, (2 * 1_000) / stepMs - 1)
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
