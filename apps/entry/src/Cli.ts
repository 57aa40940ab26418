/** The entry's command line: without a verb it serves; `keys` makes and revokes API keys. */
import { Command, Options, ValidationError } from "@effect/cli"
import type { Teardown } from "@effect/platform/Runtime"
import { version } from "@weft/mesh/Version"
import { Cause, Console, Effect, Exit, Layer, Logger, Option } from "effect"
import { ApiKeyStore } from "./ApiKeyStore.ts"
import * as App from "./App.ts"
import { keys } from "./commands/keys.ts"
import * as Database from "./Database.ts"
import { EntryConfig } from "./EntryConfig.ts"

const json = Options.boolean("json").pipe(Options.withDescription("print JSON, one object per line"))

const entry = Command.make("entry", { json }, ({ json }) => App.run(json)).pipe(
  Command.withDescription("serve a mesh of peers to OpenAI clients; configured by WEFT_… in the environment"),
  Command.withSubcommands([keys.pipe(Command.provide(ApiKeyStore.layer.pipe(Layer.provide(Database.layer))))])
)

/** Runs what `argv` asks for; a failure is printed to standard error in one line before it is returned. */
export const run = (argv: ReadonlyArray<string>) =>
  Command.run(entry, { name: "Weft entry", version })(argv).pipe(
    Effect.provide(EntryConfig.layerFromEnv),
    Effect.tapErrorCause((cause) =>
      Option.match(Cause.failureOption(cause), {
        onNone: () => (Cause.isInterruptedOnly(cause) ? Effect.void : Console.error(Cause.pretty(cause))),
        // The CLI has printed its own complaints already.
        onSome: (error) =>
          ValidationError.isValidationError(error) ? Effect.void : Console.error(`entry: ${describe(error)}`)
      })
    ),
    Effect.provide(Logger.replace(Logger.defaultLogger, Logger.prettyLogger({ stderr: true })))
  )

/** Exits with 0 for success and a wanted stop, 2 for wrong usage, 1 for all else. */
export const teardown: Teardown = (exit, onExit) => {
  if (Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause)) return onExit(0)
  onExit(ValidationError.isValidationError(Option.getOrUndefined(Cause.failureOption(exit.cause))) ? 2 : 1)
}

// internal

const describe = (error: unknown): string => (error instanceof Error ? error.message : String(error))
