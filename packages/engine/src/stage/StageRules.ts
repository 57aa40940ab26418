/**
 * The rules for the stages of one model: where it may be cut and what its stages must state. They follow from its
 * header and the table of architectures; the same rules judge stage files that come from elsewhere. Pure.
 */
import { Either } from "effect"
import type { GgufArray, GgufHeader } from "../GgufHeader.ts"
import { shown } from "../GgufRejected.ts"
import { architectureOf, numberOf, type StageArchitecture, type Stated, type Windows } from "./StageArchitecture.ts"
import type { StageRange } from "./StageKeys.ts"
import { refuseStage, StageRefused } from "./StageRefused.ts"

/** Represents the rules for the stages of one model. */
export interface StageRules {
  /** Layers that answers run through; those that only draft come behind them and are left out. */
  readonly layers: number
  /** For each layer whether it attends to a window only; absent where no layer does. */
  readonly windows: ReadonlyArray<boolean> | undefined
  /** Layers that a stage other than the first may begin with, rising. */
  readonly allowedCuts: ReadonlyArray<number>
  /** Numbers of layers that no part of the model may have, as llama.cpp takes them for another model. */
  readonly barredLengths: ReadonlyArray<number>
  /** Whether llama.cpp wants `output.weight` in each file; it makes one of `token_embd.weight` for the others. */
  readonly needsHead: boolean
  /** What hidden states are multiplied by before they enter a stage, as the graph undoes it. */
  readonly inputScale: number | undefined
  /** Whether the stages together compute what the whole does to the last bit, in the exact profile. */
  readonly isExact: boolean
  /** Keys of the architecture, without its name, that each stage must state. */
  readonly stated: Stated
}

/** Represents a cut that was asked for and the one to make. */
export interface NearestCut {
  readonly cut: number
  /** Why it is another one; absent where it is the same. */
  readonly reason: string | undefined
}

/** Returns the rules for the stages of the model, or why it cannot be cut. */
export const rulesOf = (header: GgufHeader): Either.Either<StageRules, StageRefused> =>
  either(() => unsafeRulesOf(header))

/** Returns the rules as `rulesOf` does; throws `StageRefused`. */
export const unsafeRulesOf = (header: GgufHeader): StageRules => {
  const row = architectureOf(header)
  const layers = header.layers - (numberOf(header, "nextn_predict_layers") ?? 0)
  if (layers < 1) return refuseStage("BadModel", "The model has no layers but those that draft")
  checkModel(header, row)
  if (row.fixed?.lengths.includes(layers) === true)
    return refuseStage("UnsupportedModel", `With ${layers} layers ${row.fixed.what}, with fewer not`)
  const windows = row.windows === undefined ? undefined : windowsOf(header, row.windows, layers)
  const first = windows?.indexOf(true) ?? 0
  const inputScale = inputScaleOf(header, row)
  return {
    layers,
    windows,
    allowedCuts: Array.from({ length: layers - 1 }, (_, index) => index + 1).filter(
      (cut) => windows === undefined || (windows[cut] === true && cut > first)
    ),
    barredLengths: barredLengths(header, row, layers),
    needsHead: row.needsHead === true,
    inputScale,
    isExact: inputScale === undefined || Number.isInteger(Math.log2(inputScale)),
    stated: row.stated?.(header, layers) ?? new Map()
  }
}

/** Returns what must hold for a stage file with this header that says `stage` of itself, or why it cannot be one. */
export const rulesOfStage = (
  header: GgufHeader,
  stage: StageRange & { readonly layers: number }
): Either.Either<Pick<StageRules, "inputScale" | "needsHead">, StageRefused> =>
  either(() => {
    const row = architectureOf(header)
    const length = header.layers
    checkModel(header, row)
    for (const [name, value] of row.stated?.(header, stage.layers) ?? [])
      if (header.metadata.get(`${header.architecture}.${name}`)?.value !== value)
        return refuseStage("BadModel", `The stage does not state ${header.architecture}.${name} as ${value}`)
    if ((numberOf(header, "nextn_predict_layers") ?? 0) !== 0)
      return refuseStage("BadModel", "The stage has layers that draft")
    if (
      row.fixed?.lengths.includes(stage.layers) === true ||
      (length < stage.layers && barredLengths(header, row, stage.layers).includes(length))
    )
      return refuseStage("BadCut", `llama.cpp takes a file of ${length} layers for another model`)
    const windows = row.windows === undefined ? undefined : windowsOf(header, row.windows, length)
    const isStated = header.metadata.get(`${header.architecture}.attention.sliding_window_pattern`)?.type === "array"
    if (windows !== undefined && !(isStated && (stage.from === 0 || windows[0] === true)))
      return refuseStage("BadCut", "The stage does not begin with a layer that attends to a window")
    return { inputScale: inputScaleOf(header, row), needsHead: row.needsHead === true }
  })

/** Returns the allowed cut next to `cut`, the lower of two as near; `undefined` where the model cannot be cut. */
export const nearestCut = (rules: StageRules, cut: number): NearestCut | undefined => {
  const [first, ...others] = rules.allowedCuts
  if (first === undefined) return undefined
  const nearest = others.reduce((best, one) => (Math.abs(one - cut) < Math.abs(best - cut) ? one : best), first)
  if (nearest === cut) return { cut, reason: undefined }
  const isInside = Number.isInteger(cut) && cut > 0 && cut < rules.layers
  return { cut: nearest, reason: isInside ? windowReason(cut) : `a cut lies within 1 to ${rules.layers - 1}` }
}

/** Returns why the layers of `range` cannot be a stage; `undefined` where they can. */
export const refusalOf = (rules: StageRules, range: StageRange): StageRefused | undefined => {
  const { from, to } = range
  const { allowedCuts, barredLengths, layers } = rules
  if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || to > layers || from >= to)
    return new StageRefused({
      reason: "BadRange",
      detail: `The range is ${from} to ${to}, the model has ${layers} layers`
    })
  for (const cut of [from, to])
    if (cut > 0 && cut < layers && !allowedCuts.includes(cut))
      return new StageRefused({
        reason: "BadCut",
        detail: `No cut may be made before layer ${cut}: ${windowReason(cut)}`
      })
  if (to - from < layers && barredLengths.includes(to - from))
    return new StageRefused({
      reason: "BadCut",
      detail: `llama.cpp takes a file of ${to - from} layers for another model of this architecture`
    })
  return undefined
}

// internal

/** A stage without such a layer ends llama.cpp's process, so each begins with one. */
const windowReason = (cut: number): string => `layer ${cut} does not attend to a window, and each stage begins with one`

const either = <A>(make: () => A): Either.Either<A, StageRefused> =>
  Either.try({
    try: make,
    catch: (error) => {
      if (error instanceof StageRefused) return error
      throw error
    }
  })

const checkModel = (header: GgufHeader, row: StageArchitecture): void => {
  const refused = row.refused?.(header)
  if (refused !== undefined) refuseStage("UnsupportedModel", refused)
}

const inputScaleOf = ({ embeddingLength }: GgufHeader, row: StageArchitecture): number | undefined =>
  row.scalesInput === true ? Math.fround(1 / Math.sqrt(embeddingLength)) : undefined

const barredLengths = (header: GgufHeader, row: StageArchitecture, layers: number): ReadonlyArray<number> => [
  ...(row.fixed?.lengths ?? []),
  ...(row.barred?.(header, layers) ?? [])
]

const windowsOf = (header: GgufHeader, defaults: Windows, layers: number): ReadonlyArray<boolean> | undefined => {
  if (defaults.onlyIfSized && (numberOf(header, "attention.sliding_window") ?? 0) === 0) return undefined
  const key = `${header.architecture}.attention.sliding_window_pattern`
  const entry = header.metadata.get(key)
  const windows =
    entry?.type === "array"
      ? statedWindows(key, entry.value, header.layers, layers)
      : periodic(numberOf(header, "attention.sliding_window_pattern") ?? defaults.period, layers)
  return windows.includes(true) ? windows : refuseStage("BadModel", "No layer attends to a window, though there is one")
}

const statedWindows = (key: string, array: GgufArray, all: number, layers: number): ReadonlyArray<boolean> =>
  array.values !== undefined && (array.length === layers || array.length === all)
    ? array.values.slice(0, layers).map((value) => value !== 0 && value !== false)
    : refuseStage("BadModel", `${shown(key)} has ${array.length} elements for ${layers} layers`)

/** As `llama_hparams::set_swa_pattern` has it: a period of 0 is windows everywhere. */
const periodic = (period: number, layers: number): ReadonlyArray<boolean> =>
  Array.from({ length: layers }, (_, layer) => period === 0 || layer % period < period - 1)
