/** The verbs, what goes wrong in them said in one line, and the exit codes that scripts rely on. */

import { Command, ValidationError } from "@effect/cli"
import { FetchHttpClient } from "@effect/platform"
import type { ProgramOptions } from "@weft/actors/Program"
import { version } from "@weft/mesh/Version"
import { Effect, Logger } from "effect"
import { doctor } from "./commands/doctor.ts"
import { identity } from "./commands/identity.ts"
import { status } from "./commands/status.ts"
import { up } from "./commands/up.ts"
import { NotRunning } from "./RunningPeer.ts"

const peer = Command.make("peer").pipe(
  Command.withDescription("lend this machine to a mesh that serves open-weight language models"),
  Command.withSubcommands([up, status, identity, doctor])
)

/** The verb in `argv`, ready to run. */
export const make = (argv: ReadonlyArray<string>) =>
  Command.run(peer, { name: "Weft peer", version })(argv).pipe(
    Effect.provide(FetchHttpClient.layer),
    Effect.provide(Logger.replace(Logger.defaultLogger, Logger.prettyLogger({ stderr: true })))
  )

/** Exits with 2 for wrong usage, of which the command line has printed its complaint itself, 3 where no peer runs. */
export const options: ProgramOptions = {
  name: "peer",
  exitCodeOf: (failure) =>
    ValidationError.isValidationError(failure) ? 2 : failure instanceof NotRunning ? 3 : undefined,
  isTold: ValidationError.isValidationError
}
