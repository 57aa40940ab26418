/** The answers this peer gives now, and the end of giving any: what the link hands over, this hands to an engine. */
import { answer } from "@weft/engine/GenerateStream"
import type { GenerateFailure } from "@weft/engine/Generation"
import type { Incoming } from "@weft/mesh/Link"
import { Clock, Context, Effect, Layer } from "effect"
import { Engines } from "./Engines.ts"
import * as PeerMetrics from "./PeerMetrics.ts"
import type { PeerStatus } from "./PeerStatus.ts"

/** Gives and counts answers. */
export class Answers extends Context.Tag("@weft/peer/Answers")<
  Answers,
  {
    /** Answers the request of one stream; interrupting it cancels the answer. */
    readonly give: (incoming: Incoming) => Effect.Effect<void>
    readonly counts: Effect.Effect<PeerStatus["answers"]>
    /** From now on new requests are refused with `shutting_down`; completes when the running answers are finished. */
    readonly drain: Effect.Effect<void>
    readonly isDraining: () => boolean
  }
>() {
  static readonly layer = Layer.effect(
    Answers,
    Effect.map(Engines, (engines) => make(engines))
  )
}

// internal

const shuttingDown: GenerateFailure = { code: "shutting_down", message: "this peer is about to stop" }

const make = (engines: typeof Engines.Service): typeof Answers.Service => {
  const counts = { active: 0, finished: 0, failed: 0, cancelled: 0 }
  const idle = Effect.unsafeMakeLatch(true)
  let draining = false

  const give = Effect.fnUntraced(function* (incoming: Incoming) {
    const startedMs = yield* Clock.currentTimeMillis
    const outcome = yield* answer(incoming, ({ model }) => (draining ? Effect.fail(shuttingDown) : engines.find(model)))
    counts[outcome]++
    PeerMetrics.answers.inc({ outcome })
    PeerMetrics.answerDuration.observe(((yield* Clock.currentTimeMillis) - startedMs) / 1_000)
  })

  return {
    give: (incoming) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          counts.active++
          idle.unsafeClose()
          PeerMetrics.activeAnswers.set(counts.active)
        }),
        () => give(incoming),
        () =>
          Effect.sync(() => {
            counts.active--
            PeerMetrics.activeAnswers.set(counts.active)
            if (counts.active === 0) idle.unsafeOpen()
          })
      ),
    counts: Effect.sync(() => ({ ...counts })),
    drain: Effect.suspend(() => {
      draining = true
      return idle.await
    }),
    isDraining: () => draining
  }
}
