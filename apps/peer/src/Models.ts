/**
 * The models of a peer when it starts: those that fit its memory get an engine, those that would fit in their place
 * stand by, of the others it lends layers. A file that can be none is reported and left out; with none left the peer
 * does not start.
 */
import { totalmem } from "node:os"
import { basename, join } from "node:path"
import { FileSystem } from "@effect/platform"
import { threadsMost } from "@weft/engine/EngineConfig"
import * as EngineSupervisor from "@weft/engine/EngineSupervisor"
import type { Profile } from "@weft/engine/Generation"
import type { GgufHeader } from "@weft/engine/GgufHeader"
import * as ModelFile from "@weft/engine/ModelFile"
import * as DraftFile from "@weft/engine/pipeline/DraftFile"
import * as LayerTimes from "@weft/engine/pipeline/LayerTimes"
import * as StageMemory from "@weft/engine/pipeline/StageMemory"
import * as StageStock from "@weft/engine/pipeline/StageStock"
import type { StageRange } from "@weft/engine/stage/StageKeys"
import * as StageRules from "@weft/engine/stage/StageRules"
import * as StageShelf from "@weft/engine/stage/StageShelf"
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import { Effect, ExecutionStrategy, Exit, Option, Scope } from "effect"
import * as DraftOption from "./DraftOption.ts"
import type { SoloOptions } from "./election/Solo.ts"
import type { Candidate } from "./election/SoloEngines.ts"
import * as SoloShare from "./election/SoloShare.ts"
import * as LayersOption from "./LayersOption.ts"
import * as Memory from "./Memory.ts"
import type * as Progress from "./Progress.ts"

/** Represents what decides how much memory a model takes besides its file. */
export interface NeedOptions {
  readonly contextTokens: Option.Option<number>
  readonly profile: Profile
  readonly slots: number
}

/** Represents what `peer up` was given about models. */
export interface ModelsOptions extends NeedOptions {
  readonly dataDirectory: string
  readonly draftModels: ReadonlyArray<string>
  readonly layers: ReadonlyArray<string>
  readonly models: ReadonlyArray<string>
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
  const drafts = yield* DraftOption.parse(options.draftModels, options.models.map(nameOf))
  const ranges = yield* LayersOption.parse(options.layers, options.models.map(nameOf))
  const files = yield* Effect.forEach(options.models, (path) => given(options, path, ranges.get(nameOf(path))))
  const { lentBytes, parts, usableBytes } = SoloShare.divide(files, memoryBytes)
  const ofPart = (part: SoloShare.Part) => files.filter((_, index) => parts[index] === part)
  const [refused, held] = yield* Effect.partition(ofPart("worker"), (file) => hold(options, file, progress))
  const [refusedStandby, standbys] = yield* Effect.partition(ofPart("standby"), (file) =>
    standBy(options, file, progress)
  )
  const [refusedToo, lent] = yield* Effect.partition(ofPart("lent"), (file) => lend(options, file, lentBytes, progress))
  const first = refused[0] ?? refusedStandby[0] ?? refusedToo[0]
  if (held.length + standbys.length + lent.length === 0 && first !== undefined) return yield* first
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
  const candidates = [...held.map(({ candidate }) => candidate), ...standbys]
  const freeBytes = Effect.sync(() => SoloShare.usable(process.availableMemory(), totalmem(), undefined))
  const solo: SoloOptions = {
    usableBytes,
    candidates,
    held: held.map(({ engine, scope }) => ({ engine, scope })),
    freeBytes
  }
  return { solo, stock }
})

/** Returns the name by which clients ask for the model of a file. */
export const nameOf = (path: string): string => basename(path).replace(/\.gguf$/i, "")

/** Returns the size of a file and the memory that its model takes when it is loaded whole, both in bytes. */
export const needs = Effect.fnUntraced(function* (options: NeedOptions, path: string) {
  const fs = yield* FileSystem.FileSystem
  const info = yield* Effect.orElseSucceed(fs.stat(path), () => undefined)
  const sizeBytes = Number(info?.size ?? 0)
  // What is wrong with a file is said when it is opened in earnest.
  const header = yield* Effect.orElseSucceed(ModelFile.header(path), () => undefined)
  return { sizeBytes, needBytes: needOf(options, sizeBytes, header) }
})

// internal

/** What an engine takes where nothing is said; the default of `EngineConfig`. */
const contextTokensDefault = 4_096

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

/** A file as it was given, before anything of it was loaded. */
interface GivenFile extends SoloShare.Given {
  readonly path: string
  readonly sizeBytes: number
  readonly only: StageRange | undefined
}

/** An f16 value of a cell against one of q8_0, which takes 34 bytes for 32 values. */
const fastCellFactor = 64 / 34

const given = (options: ModelsOptions, path: string, only: StageRange | undefined) =>
  Effect.map(needs(options, path), (needed) => ({
    ...needed,
    path,
    only,
    isLent: options.split || only !== undefined
  }))

const needOf = (options: NeedOptions, sizeBytes: number, header: GgufHeader | undefined): number => {
  if (header === undefined) return Math.ceil(sizeBytes * Memory.memoryFactor)
  const { slots } = options
  const bare = StageMemory.bytesNeeded({ header, sizeBytes, slots, contextTokens: 0 })
  const cells = StageMemory.bytesNeeded({ header, sizeBytes: 0, slots, contextTokens: contextOf(options, header) })
  return Math.ceil(bare + cells * (options.profile === "fast" ? fastCellFactor : 1))
}

const contextOf = ({ contextTokens }: NeedOptions, header: GgufHeader): number =>
  Math.min(
    Option.getOrElse(contextTokens, () => contextTokensDefault),
    header.contextTokens
  )

/** Serves a model at once, in a scope of its own: an election may end it before the peer stops. */
const hold = Effect.fnUntraced(function* (
  options: ModelsOptions,
  { needBytes, path }: GivenFile,
  progress: Progress.Progress
) {
  const scope = yield* Scope.fork(yield* Effect.scope, ExecutionStrategy.sequential)
  const load = startEngine(options, path, progress)
  const engine = yield* Effect.onError(Scope.extend(load, scope), (cause) => Scope.close(scope, Exit.failCause(cause)))
  return { engine, scope, candidate: { model: engine.model, needBytes, load } satisfies Candidate }
})

/** Checks a model that is not loaded now, so that it can be at any time. */
const standBy = (options: ModelsOptions, { needBytes, path }: GivenFile, progress: Progress.Progress) =>
  Effect.gen(function* () {
    const model = describe(options, yield* open(path, progress))
    yield* progress.standingBy(model)
    return { model, needBytes, load: startEngine(options, path, progress) } satisfies Candidate
  }).pipe(Effect.tapError((error) => progress.refused(path, error.message)))

const open = (path: string, progress: Progress.Progress) => {
  const tell = progress.loading(path)
  return ModelFile.open(path, { onProgress: (hashed, size) => tell(hashed / size) })
}

const describe = (options: ModelsOptions, file: ModelFile.ModelFile): ModelDescription => ({
  id: nameOf(file.path),
  sha256: file.sha256,
  sizeBytes: file.sizeBytes,
  architecture: file.header.architecture,
  quantization: file.header.quantization,
  contextTokens: contextOf(options, file.header),
  slots: options.slots
})

const lend = (
  options: ModelsOptions,
  { only, path, sizeBytes }: GivenFile,
  memoryBytes: number,
  progress: Progress.Progress
) =>
  Effect.gen(function* () {
    const file = yield* open(path, progress)
    const model = yield* StageStock.lend(file, describe(options, file), only)
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
