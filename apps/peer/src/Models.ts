/**
 * The models of a peer when it starts: those that fit its memory get an engine, of the others it lends layers. A file
 * that can be neither is reported and left out; with none left the peer does not start.
 */
import { basename, join } from "node:path"
import { FileSystem } from "@effect/platform"
import { threadsMost } from "@weft/engine/EngineConfig"
import * as EngineSupervisor from "@weft/engine/EngineSupervisor"
import type { Profile } from "@weft/engine/Generation"
import * as ModelFile from "@weft/engine/ModelFile"
import * as DraftFile from "@weft/engine/pipeline/DraftFile"
import * as LayerTimes from "@weft/engine/pipeline/LayerTimes"
import * as StageStock from "@weft/engine/pipeline/StageStock"
import type { StageRange } from "@weft/engine/stage/StageKeys"
import * as StageRules from "@weft/engine/stage/StageRules"
import * as StageShelf from "@weft/engine/stage/StageShelf"
import { Effect, Option } from "effect"
import { memoryFactor } from "./Doctor.ts"
import * as DraftOption from "./DraftOption.ts"
import * as LayersOption from "./LayersOption.ts"
import * as Memory from "./Memory.ts"
import type * as Progress from "./Progress.ts"

/** Represents what `peer up` was given about models. */
export interface ModelsOptions {
  readonly contextTokens: Option.Option<number>
  readonly dataDirectory: string
  readonly draftModels: ReadonlyArray<string>
  readonly layers: ReadonlyArray<string>
  readonly models: ReadonlyArray<string>
  readonly profile: Profile
  readonly slots: number
  /** Layers are lent of every model. */
  readonly split: boolean
  readonly threads: Option.Option<number>
}

/** Loads the models; the engines stop with the scope. */
export const start = Effect.fn("Models.start")(function* (
  options: ModelsOptions,
  memoryBytes: number,
  progress: Progress.Progress
) {
  const fs = yield* FileSystem.FileSystem
  const drafts = yield* DraftOption.parse(options.draftModels, options.models.map(nameOf))
  const ranges = yield* LayersOption.parse(options.layers, options.models.map(nameOf))
  const files = yield* Effect.forEach(options.models, (path) =>
    Effect.map(
      Effect.orElseSucceed(fs.stat(path), () => undefined),
      (info) => ({ path, sizeBytes: Number(info?.size ?? 0), only: ranges.get(nameOf(path)) })
    )
  )
  const isWhole = Memory.fitting(
    files.map(({ only, sizeBytes }) => (only === undefined && !options.split ? sizeBytes : Number.POSITIVE_INFINITY)),
    memoryBytes
  )
  const whole = files.filter((_, index) => isWhole[index])
  const split = files.filter((_, index) => !isWhole[index])
  const wholeBytes = whole.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) * memoryFactor
  const lentBytes = Math.max(0, memoryBytes - wholeBytes)
  const [refused, engines] = yield* Effect.partition(whole, ({ path }) => startEngine(options, path, progress))
  const [refusedToo, lent] = yield* Effect.partition(split, (file) => lend(options, file, lentBytes, progress))
  const first = refused[0] ?? refusedToo[0]
  if (engines.length + lent.length === 0 && first !== undefined) return yield* first
  const stock = StageStock.make({
    models: yield* Effect.forEach(lent, (model) => withDraft(model, drafts, lentBytes, progress)),
    shelf: yield* StageShelf.make(join(options.dataDirectory, "stages")),
    times: yield* LayerTimes.make({
      path: join(options.dataDirectory, "layer-times.json"),
      threadsMax: threadsMost({ threads: Option.getOrUndefined(options.threads) })
    }),
    memoryBytes: lentBytes,
    config: engineOptions(options)
  })
  return { engines, stock }
})

// internal

/** What an engine takes where nothing is said; the default of `EngineConfig`. */
const contextTokensDefault = 4_096

const nameOf = (path: string): string => basename(path).replace(/\.gguf$/i, "")

const engineOptions = ({ dataDirectory, threads }: ModelsOptions) => ({
  calibrationPath: join(dataDirectory, "calibration.json"),
  ...(Option.isSome(threads) ? { threads: threads.value } : {})
})

const startEngine = (options: ModelsOptions, path: string, progress: Progress.Progress) =>
  EngineSupervisor.make({
    path,
    modelId: nameOf(path),
    slots: options.slots,
    profile: options.profile,
    ...engineOptions(options),
    ...(Option.isSome(options.contextTokens) ? { contextTokens: options.contextTokens.value } : {}),
    onProgress: progress.loading(path)
  }).pipe(
    Effect.tap((engine) => progress.loaded(engine.model)),
    Effect.tapError((error) => progress.refused(path, error.message))
  )

interface SplitFile {
  readonly path: string
  readonly sizeBytes: number
  readonly only: StageRange | undefined
}

const lend = (
  options: ModelsOptions,
  { only, path, sizeBytes }: SplitFile,
  memoryBytes: number,
  progress: Progress.Progress
) =>
  Effect.gen(function* () {
    const tell = progress.loading(path)
    const file = yield* ModelFile.open(path, { onProgress: (hashed, size) => tell(hashed / size) })
    const contextTokens = Option.getOrElse(options.contextTokens, () => contextTokensDefault)
    const model = yield* StageStock.lend(
      file,
      {
        id: nameOf(path),
        sha256: file.sha256,
        sizeBytes: file.sizeBytes,
        architecture: file.header.architecture,
        quantization: file.header.quantization,
        contextTokens: Math.min(contextTokens, file.header.contextTokens),
        slots: options.slots
      },
      only
    )
    const refusal = only === undefined ? undefined : StageRules.refusalOf(model.rules, only)
    if (refusal !== undefined) return yield* refusal
    if (StageStock.leastBytes(model) > memoryBytes) return yield* Memory.tooLittle([sizeBytes], memoryBytes)
    yield* progress.lent(model.description, model.rules.layers, only)
    return model
  }).pipe(Effect.tapError((error) => progress.refused(path, error.message)))

/** Returns the model with its draft model; one that cannot guess for it is reported and left out. */
const withDraft = (
  model: StageStock.LentModel,
  drafts: ReadonlyMap<string, string>,
  memoryBytes: number,
  progress: Progress.Progress
): Effect.Effect<StageStock.LentModel> => {
  const { description, file } = model
  const path = drafts.get(description.id)
  if (path === undefined) return Effect.succeed(model)
  return Effect.gen(function* () {
    const tell = progress.loading(path)
    const draft = yield* ModelFile.open(path, { onProgress: (hashed, size) => tell(hashed / size) })
    yield* DraftFile.check(draft, file)
    const needed = StageStock.draftBytes({ description, draft })
    if (StageStock.leastBytes(model) + needed > memoryBytes) return yield* Memory.tooLittle([needed], memoryBytes)
    yield* progress.drafting(description, path)
    return { ...model, draft }
  }).pipe(Effect.catchAll(({ message }) => Effect.as(progress.refused(path, message), model)))
}
