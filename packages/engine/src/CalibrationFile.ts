/**
 * What hosts learnt about models on this computer, kept in one JSON file of the owner's data directory: for each kind
 * of computer, file, library and profile one entry. What cannot be read counts as unknown, and is measured again.
 */
import { createHash } from "node:crypto"
import { cpus } from "node:os"
import { Effect, Option, Schema } from "effect"
import { Calibration } from "./EngineTuning.ts"
import type { Profile } from "./Generation.ts"
import { libraryVersion } from "./internal/llama/LibraryVersion.ts"

/** Most entries; the oldest go first. A volunteer tries a few dozen models. */
const entriesMax = 128

/** Represents the file. */
const Content = Schema.parseJson(
  Schema.Struct({
    version: Schema.Literal(1),
    entries: Schema.Array(Schema.Tuple(Schema.String, Calibration)).pipe(Schema.maxItems(entriesMax))
  })
)

/** Represents what a calibration holds for. */
export interface CalibrationSubject {
  readonly sha256: string
  readonly profile: Profile
  /** Most threads of the host. */
  readonly threadsMax: number
  /** Most prompt tokens of one decode. */
  readonly prefillTokens: number
}

/** Returns what is known of `subject`; none without a file, as without a path. */
export const read = (
  path: string | undefined,
  subject: CalibrationSubject
): Effect.Effect<Option.Option<Calibration>> =>
  Effect.map(entriesOf(path), (entries) => {
    const wanted = keyOf(subject)
    return Option.fromNullable(entries.find(([key]) => key === wanted)?.[1])
  })

/** Keeps what was learnt of `subject`; a file that cannot be written is said in the log, as nothing depends on it. */
export const write = Effect.fn("CalibrationFile.write")(function* (
  path: string | undefined,
  subject: CalibrationSubject,
  calibration: Calibration
) {
  if (path === undefined) return
  const key = keyOf(subject)
  const others = (yield* entriesOf(path)).filter(([other]) => other !== key)
  const entries = [...others.slice(1 - entriesMax), [key, calibration] as const]
  const text = yield* Effect.orDie(Schema.encode(Content)({ version: 1, entries }))
  yield* Effect.tryPromise(() => Bun.write(path, text)).pipe(
    Effect.catchAll((error) => Effect.logWarning(`${path} cannot be written: ${error.message}`))
  )
})

/** Returns what stands for a subject on this kind of computer with this library. */
export const keyOf = ({ prefillTokens, profile, sha256, threadsMax }: CalibrationSubject): string => {
  const processors = cpus()
  const machine = `${process.platform} ${process.arch} ${processors[0]?.model} ${processors.length}`
  const subject = [machine, sha256, libraryVersion, profile, threadsMax, prefillTokens]
  return createHash("sha256").update(JSON.stringify(subject)).digest("hex")
}

// internal

const entriesOf = (path: string | undefined) =>
  path === undefined
    ? Effect.succeed([])
    : Effect.tryPromise(() => Bun.file(path).text()).pipe(
        Effect.flatMap(Schema.decode(Content)),
        Effect.map(({ entries }) => entries),
        Effect.orElseSucceed(() => [])
      )
