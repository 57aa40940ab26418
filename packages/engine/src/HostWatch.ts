/** How long a supervisor waits for its host: to load a model, and to say something while it has work. */
import { Duration, Effect } from "effect"
import { EngineError } from "./EngineError.ts"

/** Fails with `load_timeout` where a load takes longer than `deadline`. */
export const loading =
  (deadline: Duration.Duration) =>
  <A, R>(load: Effect.Effect<A, EngineError, R>): Effect.Effect<A, EngineError, R> =>
    Effect.timeoutFail(load, {
      duration: deadline,
      onTimeout: () => {
        const waited = Duration.format(deadline)
        const detail = `the model was not loaded within ${waited}; raise loadDeadline or use a faster disk`
        return new EngineError({ reason: "load_timeout", detail })
      }
    })

/** Represents a host at one moment. */
export interface HostSeen {
  readonly hasWork: boolean
  /** What it has said so far, counted. */
  readonly heard: number
}

/** Fails with `host_lost` when a host that has work says nothing for `deadline`; each turn says something. */
export const silence = Effect.fnUntraced(function* (
  deadline: Duration.Duration,
  look: () => HostSeen
): Effect.fn.Return<never, EngineError> {
  let quietLooks = 0
  while (quietLooks < silentLooks) {
    const before = look().heard
    yield* Effect.sleep(Duration.times(deadline, 1 / silentLooks))
    const { hasWork, heard } = look()
    quietLooks = hasWork && heard === before ? quietLooks + 1 : 0
  }
  const detail = `the engine host was silent for ${Duration.format(deadline)} while it had work`
  return yield* new EngineError({ reason: "host_lost", detail })
})

// internal

/** Looks per deadline: the deadline is kept to a quarter. */
const silentLooks = 4
