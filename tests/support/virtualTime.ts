/** Time that passes only when nothing else is to do: a simulated minute takes as long as the work in it. */
import { Clock, Duration, Effect, Logger, LogLevel, RuntimeFlags, RuntimeFlagsPatch } from "effect"

interface Sleeper {
  readonly atMs: number
  readonly wake: () => void
}

/** Runs `body` on a clock of its own that begins at 0 and jumps to the next sleeper whenever all others wait. */
export const virtualTime = <A, E, R>(body: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const sleepers: Array<Sleeper> = []
    let nowMs = 0
    const millis = (): number => nowMs
    const nanos = (): bigint => BigInt(Math.round(nowMs * 1_000_000))
    const clock: Clock.Clock = {
      [Clock.ClockTypeId]: Clock.ClockTypeId,
      unsafeCurrentTimeMillis: millis,
      unsafeCurrentTimeNanos: nanos,
      currentTimeMillis: Effect.sync(millis),
      currentTimeNanos: Effect.sync(nanos),
      sleep: (duration) =>
        Effect.async<void>((resume) => {
          const sleeper = { atMs: nowMs + Duration.toMillis(duration), wake: () => resume(Effect.void) }
          const after = sleepers.findIndex(({ atMs }) => atMs > sleeper.atMs)
          sleepers.splice(after === -1 ? sleepers.length : after, 0, sleeper)
          return Effect.sync(() => {
            const at = sleepers.indexOf(sleeper)
            if (at >= 0) sleepers.splice(at, 1)
          })
        })
    }
    // A macrotask comes when nothing else is to do.
    const pass = Effect.async<never>(() => {
      let next = setImmediate(function step() {
        const sleeper = sleepers.shift()
        if (sleeper !== undefined) {
          nowMs = Math.max(nowMs, sleeper.atMs)
          sleeper.wake()
        }
        next = setImmediate(step)
      })
      return Effect.sync(() => clearImmediate(next))
    })
    return Effect.raceFirst(Effect.withClock(body, clock), pass)
  })

/**
 * `virtualTime` for runs by the thousand: without logs, traces and counted fibers, which nobody reads and which take a
 * seventh of the time.
 */
export const simulated = <A, E, R>(body: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  virtualTime(body).pipe(
    Effect.withTracerEnabled(false),
    Effect.withRuntimeFlagsPatch(RuntimeFlagsPatch.disable(RuntimeFlags.RuntimeMetrics)),
    Logger.withMinimumLogLevel(LogLevel.None)
  )
