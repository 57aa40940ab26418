/** Waiting for an end, but not for ever. */
import { type Duration, Effect, Option } from "effect"

/**
 * Runs `end` for at most `bound` and returns whether it finished. After that it is left to finish on its own and nobody
 * waits for it. Works in finalizers too: there it is made interruptible, or the bound could not hold.
 */
export const endWithin = <R>(end: Effect.Effect<unknown, never, R>, bound: Duration.Duration) =>
  Effect.interruptible(Effect.timeoutOption(Effect.disconnect(end), bound)).pipe(Effect.map(Option.isSome))
