/** Waiting for an end, but not for ever. */
import { type Duration, Effect, Option } from "effect"

/**
 * Runs `end` for at most `bound` and returns whether it finished. After that it goes on alone and nobody waits for it.
 * Holds in finalizers and in interrupted fibers too: what waits is a fiber of its own, which can be interrupted.
 */
export const endWithin = <R>(end: Effect.Effect<unknown, never, R>, bound: Duration.Duration) =>
  Effect.map(
    Effect.timeoutOption(Effect.interruptible(Effect.disconnect(Effect.uninterruptible(end))), bound),
    Option.isSome
  )
