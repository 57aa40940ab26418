/** What an owner sets for their peer: options of the command line, else `WEFT_…` of the environment, else defaults. */
import { Options } from "@effect/cli"
import { Config } from "effect"

/** Where a peer keeps its identity, models and state, relative to the working directory. */
export const dataDirectoryDefault = ".weft/peer"

/** Folder of the identity and of the running peer's address. */
export const dataDirectory = Options.text("data-dir").pipe(
  Options.withFallbackConfig(Config.string("WEFT_DATA_DIR")),
  Options.withDefault(dataDirectoryDefault),
  Options.withDescription("where the peer keeps its identity and state")
)

/** URL of the entry's HTTP door. */
export const entry = Options.text("entry").pipe(
  Options.withFallbackConfig(Config.string("WEFT_ENTRY")),
  Options.withDescription("address of the entry, e.g. http://HOST:8080")
)

/** Model files to serve. */
export const models = Options.text("model").pipe(
  Options.atLeast(1),
  Options.withDescription("a GGUF file to serve; may be given several times")
)

/** Compute threads of each engine; the default leaves neighbours room, as ggml's barriers spin. */
export const threads = Options.integer("threads").pipe(
  Options.withFallbackConfig(Config.integer("WEFT_THREADS")),
  Options.withDefault(1),
  Options.withDescription("compute threads per model (leave at least one processor free)")
)

/** Makes a command print JSON, one object per line, instead of text for people. */
export const json = Options.boolean("json").pipe(Options.withDescription("print JSON, one object per line"))
