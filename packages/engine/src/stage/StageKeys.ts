/** The keys of ours that make a GGUF file a stage: which layers of which model it holds. */
import type { GgufEntry } from "../GgufHeader.ts"

/** Begins the name of each of them. */
export const stagePrefix = "weft.stage."

/** Their names; `layers` counts those of the whole model, `source` is the SHA-256 of its file. */
export const stageKey = {
  from: `${stagePrefix}from`,
  to: `${stagePrefix}to`,
  layers: `${stagePrefix}layers`,
  source: `${stagePrefix}source`,
  inputScale: `${stagePrefix}input_scale`
} as const

/** Represents layers `from` up to `to`, `to` excluded. */
export interface StageRange {
  readonly from: number
  readonly to: number
}

/** Represents what a stage file says of itself. */
export interface StageKeys extends StageRange {
  /** Layers of the whole model, without those that only draft. */
  readonly layers: number
  /** Lower-case hexadecimal SHA-256 of the whole model's file, where the cutter knew it. */
  readonly source: string | undefined
  /** What the hidden states are multiplied by before they enter, where the architecture asks for it. */
  readonly inputScale: number | undefined
}

/** Tells whether the stage takes tokens; the others take hidden states. */
export const isFirst = ({ from }: StageRange): boolean => from === 0

/** Tells whether the stage draws tokens; the others hand hidden states on. */
export const isLast = ({ layers, to }: Pick<StageKeys, "layers" | "to">): boolean => to === layers

/** Tells whether a file is a stage, or claims to be. */
export const isStage = (entries: ReadonlyMap<string, GgufEntry>): boolean =>
  [...entries.keys()].some((key) => key.startsWith(stagePrefix))
