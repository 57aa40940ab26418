/** What the processes of all hosts do: run until their supervisor closes the channel, or until they fail. */
import { type Cause, Effect, Exit, type Scope } from "effect"

/** Runs `host` as the process and ends that with it. */
export const runHost = <E>(host: Effect.Effect<unknown, E, Scope.Scope>): void => {
  // Ctrl-C and a stop of the whole process group reach the host too; it lives as long as its supervisor, which drains.
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => {})
  Effect.runPromiseExit(Effect.scoped(Effect.tapErrorCause(host, say))).then((exit) =>
    process.exit(Exit.isSuccess(exit) ? 0 : 1)
  )
}

// internal

/** Written before the channel closes, at which the supervisor kills the process. */
const say = (cause: Cause.Cause<unknown>) => Effect.sync(() => process.stderr.write(`${cause}\n`))
