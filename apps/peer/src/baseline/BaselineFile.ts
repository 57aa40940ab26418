/**
 * The native speeds that were measured on this computer, in one JSON file of the owner's data directory: for each setup
 * one entry. What cannot be read counts as unknown, and is measured again.
 */
import { FileSystem } from "@effect/platform"
import { NativeFigures } from "@weft/mesh/ModelDescription"
import { Effect, Schema } from "effect"

/** Most entries; the oldest go first. A volunteer tries a few dozen models. */
const entriesMax = 128

const Content = Schema.parseJson(
  Schema.Struct({
    version: Schema.Literal(1),
    entries: Schema.Array(Schema.Tuple(Schema.String, NativeFigures)).pipe(Schema.maxItems(entriesMax))
  })
)

/** Returns what is known of a setup; undefined where nothing is. */
export const read = (
  path: string,
  setup: string
): Effect.Effect<NativeFigures | undefined, never, FileSystem.FileSystem> =>
  Effect.map(entriesOf(path), (entries) => entries.find(([known]) => known === setup)?.[1])

/** Keeps what was measured; a file that cannot be written is said in the log, as nothing depends on it. */
export const write = Effect.fn("BaselineFile.write")(function* (path: string, setup: string, figures: NativeFigures) {
  const fs = yield* FileSystem.FileSystem
  const others = (yield* entriesOf(path)).filter(([known]) => known !== setup)
  const entries = [...others.slice(1 - entriesMax), [setup, figures] as const]
  const text = yield* Effect.orDie(Schema.encode(Content)({ version: 1, entries }))
  yield* Effect.catchAll(fs.writeFileString(path, text), (error) =>
    Effect.logWarning(`${path} cannot be written: ${error.message}`)
  )
})

// internal

const entriesOf = (path: string) =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString(path)).pipe(
    Effect.flatMap(Schema.decode(Content)),
    Effect.map(({ entries }) => entries),
    Effect.orElseSucceed(() => [])
  )
