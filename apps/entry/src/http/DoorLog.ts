/** Log lines of what runs outside of fibers: the loggers, the level and the annotations are those of the layer. */
import { Cause, Effect, FiberRef, FiberRefs, LogLevel, Runtime } from "effect"

/** Writes log lines at once. */
export interface DoorLog {
  /** Whether lines of the level Debug are kept; others need not be made. */
  readonly keepsDebug: boolean
  readonly debug: (message: string, annotations: Record<string, unknown>) => void
  readonly info: (message: string, annotations: Record<string, unknown>) => void
  /** Writes an error with what was thrown. */
  readonly error: (message: string, thrown: unknown) => void
}

/** Makes a log that writes as the fiber that makes it. */
export const make: Effect.Effect<DoorLog> = Effect.map(Effect.runtime<never>(), (runtime) => {
  const write = Runtime.runSync(runtime)
  const level = FiberRefs.getOrDefault(runtime.fiberRefs, FiberRef.currentMinimumLogLevel)
  return {
    keepsDebug: LogLevel.lessThanEqual(level, LogLevel.Debug),
    debug: (message, annotations) => write(Effect.annotateLogs(Effect.logDebug(message), annotations)),
    info: (message, annotations) => write(Effect.annotateLogs(Effect.logInfo(message), annotations)),
    error: (message, thrown) => write(Effect.logError(message, Cause.die(thrown)))
  }
})
