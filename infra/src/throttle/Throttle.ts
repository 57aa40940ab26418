/**
 * A slower computer for processes of this one: they are stopped and continued together, as `DutyCycle.ts` says, until
 * the scope closes, which lets them run. What is held up is theirs alone: packets that come meanwhile wait.
 */
import { Effect, type Scope } from "effect"
import * as Seeded from "../bench/Seeded.ts"
import * as DutyCycle from "./DutyCycle.ts"

/** Represents processes that are held up. */
export interface Throttle {
  /** How often they were stopped. */
  readonly pauses: () => number
  /** The longest of these, as the clock saw it: timers are late on a busy computer. */
  readonly longestMs: () => number
}

/** Holds these processes up, the same way for the same seed; one that is gone is left alone. */
export const make = (
  processIds: ReadonlyArray<number>,
  manner: DutyCycle.Manner,
  seed: number
): Effect.Effect<Throttle, never, Scope.Scope> =>
  Effect.gen(function* () {
    const chance = Seeded.make(seed)
    const clock = yield* Effect.clock
    const now = (): number => clock.unsafeCurrentTimeMillis()
    const beganMs = now()
    let pauses = 0
    let longestMs = 0
    const stop = Effect.sync(() => {
      pauses++
      tell(processIds, "SIGSTOP")
      return now()
    })
    const resume = (stoppedMs: number): Effect.Effect<void> =>
      Effect.sync(() => {
        tell(processIds, "SIGCONT")
        longestMs = Math.max(longestMs, now() - stoppedMs)
      })
    const pause = (pauseMs: number) => Effect.acquireUseRelease(stop, () => Effect.sleep(pauseMs), resume)
    const next = Effect.suspend(() => {
      const { pauseMs, runMs } = DutyCycle.turn(manner, now() - beganMs, chance)
      return Effect.zipRight(Effect.sleep(runMs), pauseMs < pauseLeastMs ? Effect.void : pause(pauseMs))
    })
    // A process that stays stopped would outlive everybody, as it hears of no end.
    const letRun = (): void => tell(processIds, "SIGCONT")
    yield* Effect.acquireRelease(
      Effect.sync(() => process.on("exit", letRun)),
      () => Effect.sync(() => process.off("exit", letRun))
    )
    yield* Effect.forkScoped(Effect.forever(next))
    return { pauses: () => pauses, longestMs: () => longestMs }
  })

// internal

/** Timers count whole milliseconds. */
const pauseLeastMs = 1

const tell = (processIds: ReadonlyArray<number>, signal: "SIGSTOP" | "SIGCONT"): void => {
  for (const processId of processIds) {
    // 0 and below name groups, our own among them.
    if (!(processId > 0)) throw new Error(`${processId} is no process`)
    try {
      process.kill(processId, signal)
    } catch {
      // It ended: nothing is left to hold up.
    }
  }
}
