/** The verbs, what goes wrong in them said in one line, and the exit codes that scripts rely on. */

import { Command, ValidationError } from "@effect/cli"
import { FetchHttpClient } from "@effect/platform"
import type { Teardown } from "@effect/platform/Runtime"
import { version } from "@weft/mesh/Version"
import { Cause, Console, Effect, Exit, Layer, Logger, Option } from "effect"
import { doctor } from "./commands/doctor.ts"
import { identity } from "./commands/identity.ts"
import { status } from "./commands/status.ts"
import { up } from "./commands/up.ts"

const peer = Command.make("peer").pipe(
  Command.withDescription("lend this machine to a mesh that serves open-weight language models"),
  Command.withSubcommands([up, status, identity, doctor])
)

/** Runs the verb in `argv`; a failure is printed to standard error in one line before it is returned. */
export const run = (argv: ReadonlyArray<string>) =>
  Command.run(peer, { name: "Weft peer", version })([...argv]).pipe(
    Effect.tapErrorCause((cause) =>
      Option.match(Cause.failureOption(cause), {
        onNone: () => (Cause.isInterruptedOnly(cause) ? Effect.void : Console.error(Cause.pretty(cause))),
        // The CLI has printed its own complaints already.
        onSome: (error) =>
          ValidationError.isValidationError(error) ? Effect.void : Console.error(`peer: ${error.message}`)
      })
    ),
    Effect.provide(
      Layer.merge(FetchHttpClient.layer, Logger.replace(Logger.defaultLogger, Logger.prettyLogger({ stderr: true })))
    )
  )

/** Exits with 0 for success and a wanted stop, 2 for wrong usage, 3 where no peer runs, 1 for all else. */
export const teardown: Teardown = (exit, onExit) => {
  if (Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause)) return onExit(0)
  const error = Option.getOrUndefined(Cause.failureOption(exit.cause))
  if (ValidationError.isValidationError(error)) return onExit(2)
  const tag = typeof error === "object" && error !== null && "_tag" in error ? error._tag : undefined
  onExit(tag === "NotRunning" ? 3 : 1)
}
