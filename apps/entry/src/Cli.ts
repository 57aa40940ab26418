/** The entry's command line: without a verb it serves; `keys` makes and revokes API keys. */
import { Command, Options, ValidationError } from "@effect/cli"
import type { ProgramOptions } from "@weft/actors/Program"
import { version } from "@weft/mesh/Version"
import { Effect, Layer, Logger } from "effect"
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

/** What the command line in `argv` asks for, ready to run. */
export const make = (argv: ReadonlyArray<string>) =>
  Command.run(entry, { name: "Weft entry", version })(argv).pipe(
    Effect.provide(EntryConfig.layerFromEnv),
    Effect.provide(Logger.replace(Logger.defaultLogger, Logger.prettyLogger({ stderr: true })))
  )

/** Exits with 2 for wrong usage, about which the command line has printed its complaint itself. */
export const options: ProgramOptions = {
  name: "entry",
  exitCodeOf: (failure) => (ValidationError.isValidationError(failure) ? 2 : undefined),
  isTold: ValidationError.isValidationError
}
