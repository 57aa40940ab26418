/** The answers this peer gives now, and the end of giving any: what the link hands over, this hands to an engine. */
import * as GenerateReply from "@weft/engine/GenerateReply"
import type { GenerateFailure, GenerateRequest } from "@weft/engine/Generation"
import type { MeshStream } from "@weft/mesh/Transport"
import { Context, Effect, Either, Layer } from "effect"
import { Engines } from "./Engines.ts"
import * as PeerMetrics from "./PeerMetrics.ts"
import type { PeerStatus } from "./PeerStatus.ts"

/** Gives and counts answers. */
export class Answers extends Context.Tag("@weft/peer/Answers")<
  Answers,
  {
    /** Answers the requests of one stream, one after another; the end of the stream cancels the answer under way. */
    readonly serve: (stream: MeshStream) => void
    readonly counts: Effect.Effect<PeerStatus["answers"]>
    /** From now on new requests are refused with `shutting_down`; completes when the running answers are finished. */
    readonly drain: Effect.Effect<void>
    readonly isDraining: () => boolean
    /** Waits until an answer is under way; returns at once where one is. */
    readonly busy: Effect.Effect<void>
  }
>() {
  static readonly layer = Layer.effect(
    Answers,
    Effect.flatMap(Engines, (engines) => make(engines))
  )
}

// internal

const shuttingDown: GenerateFailure = { code: "shutting_down", message: "this peer is about to stop" }

const make = Effect.fnUntraced(function* (engines: typeof Engines.Service): Effect.fn.Return<typeof Answers.Service> {
  const counts = { active: 0, finished: 0, failed: 0, cancelled: 0 }
  const idle = yield* Effect.makeLatch(true)
  const busy = yield* Effect.makeLatch(false)
  const clock = yield* Effect.clock
  let draining = false
  PeerMetrics.observeActive(() => counts.active)

  const take = ({ model }: GenerateRequest): GenerateReply.Taken => {
    const startedMs = clock.unsafeCurrentTimeMillis()
    counts.active++
    idle.unsafeClose()
    busy.unsafeOpen()
    return {
      engine: draining ? Either.left(shuttingDown) : engines.find(model),
      done: (outcome) => {
        counts.active--
        counts[outcome]++
        PeerMetrics.answers.inc({ outcome })
        PeerMetrics.answerDuration.observe((clock.unsafeCurrentTimeMillis() - startedMs) / 1_000)
        if (counts.active > 0) return
        idle.unsafeOpen()
        busy.unsafeClose()
      }
    }
  }

  return {
    serve: (stream) => GenerateReply.serve(stream, take),
    counts: Effect.sync(() => ({ ...counts })),
    drain: Effect.suspend(() => {
      draining = true
      return idle.await
    }),
    isDraining: () => draining,
    busy: busy.await
  }
})
