/**
 * The one clock of all requests for an answer: it keeps the deadlines of bodies and answers, sends comments into quiet
 * streams and gives up on readers that take nothing, so that no request needs a timer of its own.
 */
import { Duration, Effect, Schedule, type Scope } from "effect"

/** Represents what the clock looks after; its functions are called as its methods, and throw nothing. */
export interface Attended {
  readonly tick: () => void
  /** The server has stopped: what is under way ends now. */
  readonly cut: () => void
}

/** Represents a clock that ticks. */
export interface AnswerClock {
  readonly attend: (attended: Attended) => void
  /** Idempotent. */
  readonly leave: (attended: Attended) => void
  /** Returns the ticks of `duration`, at least 1: with one more, it has passed for certain. */
  readonly ticksOf: (duration: Duration.Duration) => number
  /** Cuts everything that is under way. */
  readonly cutAll: Effect.Effect<void>
}

/** Makes a clock that ticks in the scope. */
export const make = (tick: Duration.Duration): Effect.Effect<AnswerClock, never, Scope.Scope> =>
  Effect.gen(function* () {
    const all = new Set<Attended>()
    const beat = Effect.sync(() => {
      for (const attended of all) attended.tick()
    })
    yield* Effect.forkScoped(Effect.repeat(beat, Schedule.spaced(tick)))
    return {
      attend: (attended) => void all.add(attended),
      leave: (attended) => void all.delete(attended),
      ticksOf: (duration) => Math.max(1, Math.ceil(Duration.toMillis(duration) / Duration.toMillis(tick))),
      cutAll: Effect.sync(() => {
        for (const attended of all) attended.cut()
      })
    }
  })
