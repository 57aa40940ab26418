/**
 * What a peer can lend of its models: whose layers, within which range and how much memory. Hands out checked stage
 * files with their settings, counts the memory of those that are out, and is told how long their layers take.
 */
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import type { StageOffer } from "@weft/mesh/StageOffer"
import { Data, Effect, Either, Option, Schedule, Schema, type Scope } from "effect"
import { EngineConfig } from "../EngineConfig.ts"
import type { ModelFile } from "../ModelFile.ts"
import { type LayerSizes, layerSizes } from "../stage/LayerSizes.ts"
import type { StageRange } from "../stage/StageKeys.ts"
import * as StageLayout from "../stage/StageLayout.ts"
import type { StageRefused } from "../stage/StageRefused.ts"
import { refusalOf, rulesOf, type StageRules } from "../stage/StageRules.ts"
import type { StageShelf } from "../stage/StageShelf.ts"
import * as DraftFile from "./DraftFile.ts"
import type { LayerTimeSource, LayerTimes } from "./LayerTimes.ts"
import * as StageMemory from "./StageMemory.ts"

/** Represents a model of which layers are lent. */
export interface LentModel {
  readonly file: ModelFile
  readonly description: ModelDescription
  readonly rules: StageRules
  readonly sizes: LayerSizes
  /** Layers of this range only; of all where absent. */
  readonly only: StageRange | undefined
  /** Guesses where this peer hosts the model; `DraftFile.check` has passed it. */
  readonly draft?: ModelFile | undefined
}

/** Represents what is asked of a stock. */
export interface StageTerms extends StageRange {
  readonly model: Pick<ModelDescription, "id" | "sha256">
  /** Of the whole model, as the asking side has counted them. */
  readonly layers: number
  readonly contextTokens: number
  readonly slots: number
}

/** Represents a stage that can be loaded. */
export interface StockedStage {
  readonly file: ModelFile
  readonly config: EngineConfig
  /** What it may take, which is counted as taken. */
  readonly memoryBytes: number
}

/** Represents a draft model that can be loaded beside a first stage. */
export interface StockedDraft {
  readonly file: ModelFile
  /** What it may take, which is counted as taken. */
  readonly memoryBytes: number
}

/** Represents what a stock does not hand out; the message says why. */
export class NotInStock extends Data.TaggedError("NotInStock")<{
  readonly reason: "model" | "range" | "memory" | "settings" | "file"
  readonly message: string
}> {}

/** Represents the models of one peer and the memory for their stages. */
export interface StageStock {
  readonly models: ReadonlyArray<LentModel>
  /** Returns the stage; its file and its memory are held for as long as the scope lives. */
  readonly take: (
    terms: StageTerms,
    onProgress: (fraction: number) => void
  ) => Effect.Effect<StockedStage, NotInStock, Scope.Scope>
  /** Returns the model's draft model where there is one and room for it; its memory is held while the scope lives. */
  readonly takeDraft: (terms: StageTerms) => Effect.Effect<Option.Option<StockedDraft>, never, Scope.Scope>
  /** Returns the SHA-256 that the stage file of these layers has at every peer, whoever lends them. */
  readonly sha256Of: (terms: StageTerms) => Effect.Effect<string, NotInStock>
  /** Takes note of the milliseconds that one row took in these layers together. */
  readonly measured: (terms: Pick<StageTerms, "from" | "to" | "model">, rowMs: number, source: LayerTimeSource) => void
  /** What the peer says of its models when it registers. */
  readonly offers: Effect.Effect<ReadonlyArray<StageOffer>>
  /** Waits until `offers` are worth saying again: a layer takes another time than was said. */
  readonly offersChanged: Effect.Effect<void>
  /** Bytes that nothing of this stock has taken. */
  readonly freeBytes: () => number
}

/** Represents what a stock is made of. */
export interface StageStockOptions {
  readonly models: ReadonlyArray<LentModel>
  readonly shelf: StageShelf
  readonly times: LayerTimes
  /** For all stages together. */
  readonly memoryBytes: number
  /** Of the engine of each stage, besides what is asked for. */
  readonly config: Partial<typeof EngineConfig.Encoded>
}

/** Returns a model to lend, or why it cannot be cut. */
export const lend = (
  file: ModelFile,
  description: ModelDescription,
  only: StageRange | undefined
): Either.Either<LentModel, StageRefused> =>
  Either.map(Either.all({ rules: rulesOf(file.header), sizes: layerSizes(file.header) }), ({ rules, sizes }) => ({
    file,
    description,
    rules,
    sizes,
    only
  }))

/** Returns the bytes that the least stage of the model takes: one layer, with its description's slots and context. */
export const leastBytes = ({ description: { contextTokens, slots }, file, sizes }: LentModel): number =>
  Math.min(...sizes.layerBytes) + cellBytesPerTokenLayer(file) * contextTokens * slots

/** Returns the bytes that are kept free for the model's draft model; 0 where it has none. */
export const draftBytes = ({ description, draft }: Pick<LentModel, "description" | "draft">): number =>
  draft === undefined ? 0 : DraftFile.bytesNeeded(draft, description)

/** Returns the stock. */
export const make = (options: StageStockOptions): StageStock => {
  const { memoryBytes, models, shelf, times } = options
  const memory = makeMemory(memoryBytes)
  return {
    models,
    freeBytes: memory.freeBytes,
    take: Effect.fn("StageStock.take")(function* (terms, onProgress) {
      const model = yield* find(models, terms)
      const { contextTokens, slots } = terms
      const config = yield* Either.mapLeft(
        Schema.decodeEither(EngineConfig)({ ...options.config, contextTokens, slots }),
        ({ message }) => new NotInStock({ reason: "settings", message })
      )
      const layout = yield* Either.mapLeft(
        StageLayout.make(model.file.header, terms, { source: model.file.sha256 }),
        ({ message }) => new NotInStock({ reason: "range", message })
      )
      const estimate = estimateBytes(model, layout.sizeBytes, terms)
      yield* memory.hold(estimate)
      const file = yield* Effect.mapError(
        shelf.take(model.file, terms, onProgress),
        ({ message }) => new NotInStock({ reason: "file", message })
      )
      const { header, sizeBytes } = file
      const needed = StageMemory.bytesNeeded({
        header,
        sizeBytes,
        slots,
        contextTokens: Math.min(contextTokens, header.contextTokens)
      })
      yield* memory.hold(Math.max(0, needed - estimate))
      return { file, config, memoryBytes: Math.max(needed, estimate) }
    }),
    takeDraft: (terms) =>
      Effect.gen(function* () {
        const { draft } = yield* modelOf(models, terms)
        if (draft === undefined) return Option.none()
        const needed = DraftFile.bytesNeeded(draft, terms)
        yield* memory.holdNow(needed)
        return Option.some({ file: draft, memoryBytes: needed })
      }).pipe(
        // A pipeline is worth more than its guesses.
        Effect.catchAll(({ message }) => Effect.as(Effect.logWarning(`no draft model: ${message}`), Option.none()))
      ),
    sha256Of: (terms) =>
      Effect.flatMap(modelOf(models, terms), ({ file }) =>
        Effect.mapError(shelf.sha256Of(file, terms), ({ message }) => new NotInStock({ reason: "file", message }))
      ),
    measured: (terms, rowMs, source) => {
      const model = Either.getOrUndefined(modelOf(models, terms))
      if (model !== undefined) times.note(model.file.sha256, rowMs / layersOfTime(model, terms), source)
    },
    offers: Effect.forEach(models, (model) =>
      Effect.zipWith(shelf.held(model.file.sha256), times.say(model.file.sha256), (held, layerMs) => ({
        ...offerOf(model, memoryBytes, held),
        ...(layerMs === undefined ? {} : { layerMs })
      }))
    ),
    offersChanged: times.changed
  }
}

/** Returns the bytes of one token's cells in one layer, as the exact profile has them. */
export const cellBytesPerTokenLayer = ({ header }: ModelFile): number =>
  Math.ceil(
    StageMemory.bytesNeeded({ header, sizeBytes: 0, slots: 1, contextTokens: manyTokens }) / manyTokens / header.layers
  )

// internal

/** Enough for the rounding of a sum to vanish in it. */
const manyTokens = 1_024
/** Ranges that an announcement has room for. */
const heldMax = 64
/** A stage that was given back a moment ago still holds its memory until its process is gone. */
const releaseWait = Schedule.spaced("200 millis").pipe(Schedule.upTo("5 seconds"))

interface Memory {
  readonly freeBytes: () => number
  /** Takes bytes for as long as the scope lives; waits a little where there are none. */
  readonly hold: (bytes: number) => Effect.Effect<void, NotInStock, Scope.Scope>
  readonly holdNow: (bytes: number) => Effect.Effect<void, NotInStock, Scope.Scope>
}

const makeMemory = (memoryBytes: number): Memory => {
  let takenBytes = 0
  const take = (bytes: number) =>
    Effect.suspend(() => {
      if (takenBytes + bytes > memoryBytes) return new NotInStock(tooLarge(bytes, memoryBytes - takenBytes))
      takenBytes += bytes
      return Effect.void
    })
  const giveBack = (bytes: number) =>
    Effect.sync(() => {
      takenBytes -= bytes
    })
  const holdNow = (bytes: number) => Effect.asVoid(Effect.acquireRelease(take(bytes), () => giveBack(bytes)))
  return {
    freeBytes: () => memoryBytes - takenBytes,
    hold: (bytes) => Effect.retry(holdNow(bytes), releaseWait),
    holdNow
  }
}

/** Returns how many layers take as long as a range: the head takes as many layers' time as it has layers' bytes. */
const layersOfTime = ({ rules, sizes }: LentModel, { from, to }: StageRange): number => {
  const bytes = sizes.layerBytes.reduce((sum, layerBytes) => sum + layerBytes, 0)
  const headLayers = bytes === 0 ? 0 : (sizes.headBytes / bytes) * sizes.layerBytes.length
  return to - from + (to === rules.layers ? headLayers : 0)
}

const modelOf = (
  models: ReadonlyArray<LentModel>,
  { model }: Pick<StageTerms, "model">
): Either.Either<LentModel, NotInStock> =>
  Either.fromNullable(
    models.find(({ description }) => description.sha256 === model.sha256 && description.id === model.id),
    () => new NotInStock({ reason: "model", message: "this peer has no such model with this SHA-256" })
  )

const find = (models: ReadonlyArray<LentModel>, terms: StageTerms): Either.Either<LentModel, NotInStock> =>
  Either.flatMap(modelOf(models, terms), (known) => {
    const { from, layers, to } = terms
    const { only, rules } = known
    const wrong = (message: string) => Either.left(new NotInStock({ reason: "range", message }))
    if (rules.layers !== layers) return wrong(`the model has ${rules.layers} layers, not ${layers}`)
    if (only !== undefined && (from < only.from || to > only.to))
      return wrong(`this peer lends layers ${only.from} to ${only.to} only`)
    const refusal = refusalOf(rules, terms)
    return refusal === undefined ? Either.right(known) : wrong(refusal.message)
  })

const estimateBytes = ({ file }: LentModel, sizeBytes: number, terms: StageTerms): number => {
  const { header } = file
  const contextTokens = Math.min(terms.contextTokens, header.contextTokens)
  const bare = StageMemory.bytesNeeded({ header, sizeBytes, slots: terms.slots, contextTokens: 0 })
  return bare + cellBytesPerTokenLayer(file) * contextTokens * terms.slots * (terms.to - terms.from)
}

const tooLarge = (bytes: number, freeBytes: number) => {
  const mib = (amount: number): number => Math.ceil(amount / 2 ** 20)
  return {
    reason: "memory",
    message: `the stage needs ${mib(bytes)} MiB, and ${mib(Math.max(0, freeBytes))} MiB are free`
  } as const
}

const offerOf = (model: LentModel, memoryBytes: number, held: ReadonlyArray<StageRange>): StageOffer => ({
  model: model.description,
  // Whoever gets the first layers hosts, and loads the draft model too.
  memoryBytes: Math.max(0, Math.floor(memoryBytes - draftBytes(model))),
  layers: model.rules.layers,
  layerBytes: model.sizes.layerBytes,
  embeddingBytes: model.sizes.embeddingBytes + model.sizes.sharedBytes,
  headBytes: model.sizes.headBytes,
  cellBytesPerTokenLayer: cellBytesPerTokenLayer(model.file),
  cuts: model.rules.allowedCuts,
  held: held.filter(({ from, to }) => from < to && to <= model.rules.layers).slice(0, heldMax),
  ...(model.only === undefined ? {} : { only: model.only })
})
