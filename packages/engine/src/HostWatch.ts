/** How long a supervisor waits for its host: to load a model, and to say or do something while it has work. */
import { Duration, Effect } from "effect"
import type { EngineConfig } from "./EngineConfig.ts"
import { EngineError } from "./EngineError.ts"
import * as ProcessSigns from "./internal/ProcessSigns.ts"

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
export const silence = (deadline: Duration.Duration, look: () => HostSeen): Effect.Effect<never, EngineError> =>
  quiet(deadline, look, "was silent")

/**
 * Fails with `host_lost` as `silence` does after `turnDeadline`, and when a host that has work neither says anything
 * nor computes, nor waits for a disk, for about 1.5 s: it was stopped, or waits for what does not come. The second
 * holds for processors alone, as who waits for an accelerator may sleep, and where the system has word of processes.
 */
export const standstill = (
  { accelerator, turnDeadline }: Pick<EngineConfig, "accelerator" | "turnDeadline">,
  processId: number,
  look: () => HostSeen
): Effect.Effect<never, EngineError> => {
  const silent = silence(turnDeadline, look)
  if (accelerator !== "cpu") return silent
  const seen = (): HostSeen => {
    const { hasWork, heard } = look()
    const sign = hasWork ? ProcessSigns.read(processId) : undefined
    return { hasWork: sign !== undefined && !sign.isBusy, heard: heard + (sign?.spent ?? 0) }
  }
  return Effect.raceFirst(silent, quiet(standstillMax, seen, "stood still"))
}

// internal

/** Those who wait for the host are told of its end within two seconds, a look and a message included. */
const standstillMax = Duration.millis(1_500)

const quiet = Effect.fnUntraced(function* (
  deadline: Duration.Duration,
  look: () => HostSeen,
  how: string
): Effect.fn.Return<never, EngineError> {
  let quietLooks = 0
  while (quietLooks < silentLooks) {
    const before = look().heard
    yield* Effect.sleep(Duration.times(deadline, 1 / silentLooks))
    const { hasWork, heard } = look()
    quietLooks = hasWork && heard === before ? quietLooks + 1 : 0
  }
  const detail = `the engine host ${how} for ${Duration.format(deadline)} while it had work`
  return yield* new EngineError({ reason: "host_lost", detail })
})

/** Looks per deadline: the deadline is kept to a quarter. */
const silentLooks = 4
