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

/** Most compute threads of each engine; how many of them pay is measured, and one processor is left free. */
export const threads = Options.integer("threads").pipe(
  Options.withFallbackConfig(Config.integer("WEFT_THREADS")),
  Options.optional,
  Options.withDescription("most compute threads per model (default: what was measured to pay, never every processor)")
)

/** What requests get that do not say how exact they must be. */
export const profile = Options.choice("profile", ["fast", "exact"]).pipe(
  Options.withFallbackConfig(Config.literal("fast", "exact")("WEFT_PROFILE")),
  Options.withDefault("fast" as const),
  Options.withDescription("fast, or exact: the same tokens whatever else runs, with a slower prompt")
)

/** Sequences of one model that run at once. */
export const slots = Options.integer("slots").pipe(
  Options.withFallbackConfig(Config.integer("WEFT_SLOTS")),
  Options.withDefault(4),
  Options.withDescription("answers that one model gives at once")
)

/** Longest sequence. */
export const contextTokens = Options.integer("context").pipe(
  Options.withFallbackConfig(Config.integer("WEFT_CONTEXT")),
  Options.optional,
  Options.withDescription(
    "most tokens of prompt and answer together (default: what the model was trained for, up to 4096)"
  )
)

/** What `Memory.parse` reads. */
export const maxMemory = Options.text("max-memory").pipe(
  Options.withFallbackConfig(Config.string("WEFT_MAX_MEMORY")),
  Options.optional,
  Options.withDescription("most memory to lend, e.g. 6GiB (default: what is free)")
)

/** Makes a command print JSON, one object per line, instead of text for people. */
export const json = Options.boolean("json").pipe(Options.withDescription("print JSON, one object per line"))
