/**
 * What each architecture asks of a cut, in one table: where it may be made, and what must be said to a stage because
 * llama.cpp would otherwise take it from the number or the place of its layers. Read from `src/models/*.cpp` of the
 * pinned llama.cpp; the tests run every row. Pure.
 */
import type { GgufHeader } from "../GgufHeader.ts"
import { shown } from "../GgufRejected.ts"
import { refuseStage } from "./StageRefused.ts"

/** Represents whole numbers to state: of 32 bits without sign, and arrays of them with one. */
export type Stated = ReadonlyMap<string, number | ReadonlyArray<number>>

/** Represents what an architecture asks; an empty row is one of plain layers, each alike wherever it stands. */
export interface StageArchitecture {
  /** Absent: no layer attends to a window only, or llama.cpp does not ask. */
  readonly windows?: Windows
  readonly needsHead?: true
  /** The graph multiplies its input by the root of the embedding's length even where that is a hidden state. */
  readonly scalesInput?: true
  /** Numbers of layers that llama.cpp knows a model by, for which it then does something else. */
  readonly fixed?: { readonly lengths: ReadonlyArray<number>; readonly what: string }
  /** Numbers of layers that a part of a model of so many layers must not have. */
  readonly barred?: (header: GgufHeader, layers: number) => ReadonlyArray<number>
  /** Why the model cannot be cut, where another of the architecture can. */
  readonly refused?: (header: GgufHeader) => string | undefined
  readonly stated?: (header: GgufHeader, layers: number) => Stated
}

/** Represents which layers attend to a window only. */
export interface Windows {
  /** Every how many layers one attends to all, the last of each group, where the file does not say. */
  readonly period: number
  /** Windows are used only where the file states their size. */
  readonly onlyIfSized: boolean
}

/** Returns the row of the header's architecture; throws `StageRefused` where it cannot be cut. */
export const architectureOf = ({ architecture }: GgufHeader): StageArchitecture => {
  const row = rows.get(architecture)
  if (row !== undefined) return row
  const why = reasons.get(architecture) ?? "nobody has tried to cut one"
  return refuseStage("UnsupportedArchitecture", `The architecture is ${shown(architecture)}: ${why}`)
}

/** Largest number that is read: llama.cpp has them in 32 bits, some with a sign. */
const numberMax = 2 ** 31 - 1

/** Returns a whole number of the architecture's keys, `name` without the architecture's; throws `StageRefused`. */
export const numberOf = (header: GgufHeader, name: string): number | undefined => {
  const key = `${header.architecture}.${name}`
  const value = header.metadata.get(key)?.value
  if (value === undefined) return undefined
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= numberMax) return value
  return refuseStage("BadModel", `${shown(key)} is not a whole number from 0 to ${numberMax}`)
}

// internal

const plain: StageArchitecture = {}

/** llama.cpp takes the scale of the attention from the number of layers. */
const scaleOfLargest = (layers: number) => ({
  lengths: [layers],
  what: "llama.cpp scales the attention as the largest of the family needs it"
})

/** Whether llama.cpp takes it for one of the small DeepSeeks, whose queries are not compressed. */
const isSmallDeepseek = ({ vocabularySize }: GgufHeader, layers: number): boolean =>
  layers === 26 || layers === 27 || (layers === 48 && vocabularySize === 128_256)

/** Numbers of `llama_expert_gating_func_type`. */
const gating = { softmax: 1, sigmoid: 2 } as const

/** What llama.cpp derives from the number of layers and of tokens where a file does not say. */
const statedOfDeepseek2 = (header: GgufHeader, layers: number): Stated => {
  const isGlm = (layers === 47 || layers === 48) && header.vocabularySize === 154_880
  const experts = numberOf(header, "expert_gating_func") ?? 0
  return new Map([
    ...(isSmallDeepseek(header, layers) ? ([["attention.q_lora_rank", 0]] as const) : []),
    ["expert_gating_func", experts > 0 ? experts : isGlm ? gating.sigmoid : gating.softmax] as const
  ])
}

const sectionsKey = "rope.dimension_sections"

/** Whether the heads are turned by the places of images' parts; of a text all of them are the same. */
const hasSections = ({ architecture, metadata }: GgufHeader): boolean => {
  const sections = metadata.get(`${architecture}.${sectionsKey}`)?.value
  if (typeof sections !== "object") return false
  const [first, second] = sections.values ?? []
  return Number(first) > 0 && Number(second) > 0
}

/**
 * llama.cpp takes hidden states only into a GLM that sees images. For a text of this one it turns the heads by the same
 * angles then, whatever the sections are.
 */
const statedOfGlm4Moe = (header: GgufHeader): Stated => {
  if (hasSections(header)) return new Map()
  const turned = numberOf(header, "rope.dimension_count") ?? numberOf(header, "attention.key_length") ?? 0
  const quarter = Math.floor(turned / 4)
  if (quarter < 1) return refuseStage("BadModel", "The length of the heads' turned part is not stated")
  return new Map([[sectionsKey, [quarter, Math.floor(turned / 2) - quarter, 0, 0]]])
}

/** Here the sections would turn other pairs of elements. */
const refusedOfGlm4 = (header: GgufHeader): string | undefined =>
  hasSections(header) ? undefined : "llama.cpp takes hidden states only into those GLM 4 that see images"

const barredOfDeepseek2 = (header: GgufHeader, layers: number): ReadonlyArray<number> => {
  const isCompressed = (numberOf(header, "attention.q_lora_rank") ?? 0) > 0 && !isSmallDeepseek(header, layers)
  return isCompressed ? [26, 27, 48] : []
}

const rows: ReadonlyMap<string, StageArchitecture> = new Map<string, StageArchitecture>([
  ["llama", plain],
  ["mistral3", plain],
  ["qwen2", plain],
  ["qwen3", plain],
  ["qwen3moe", plain],
  ["phi3", plain],
  ["gemma2", { windows: { period: 2, onlyIfSized: false }, scalesInput: true, fixed: scaleOfLargest(46) }],
  ["gemma3", { windows: { period: 6, onlyIfSized: true }, fixed: scaleOfLargest(62) }],
  ["gpt-oss", { windows: { period: 2, onlyIfSized: false }, needsHead: true }],
  ["olmo2", { windows: { period: 4, onlyIfSized: true }, needsHead: true }],
  ["cohere2", { windows: { period: 4, onlyIfSized: false } }],
  ["exaone4", { fixed: { lengths: [64], what: "llama.cpp attends to windows" } }],
  ["deepseek2", { stated: statedOfDeepseek2, barred: barredOfDeepseek2 }],
  ["glm4moe", { stated: statedOfGlm4Moe }],
  ["granite", plain],
  ["granitemoe", plain],
  ["qwen2vl", plain],
  ["qwen3vl", plain],
  ["glm4", { refused: refusedOfGlm4 }]
])

/** Why some architectures are not in the table: models of each with random weights were cut, or the source was read. */
const reasons: ReadonlyMap<string, string> = new Map(
  [
    ["its layers see what entered the first one", "bloom talkie cogvlm"],
    ["its layers need the tokens themselves, or keys of earlier layers", "gemma3n gemma4"],
    ["what a layer does follows from its place in the model", "smollm3 llama4 afmoe smallthinker muse-glimmer"],
    ["its scales follow from the number of layers", "minicpm minicpm3"],
    ["its stages compute something else", "minimax-01 kimi-k3 nemotron_h plamo2 deepseek4 hy_v4 hrm_text qwen4exp"],
    ["positions are added to what enters", "gpt2 starcoder mpt"],
    [
      "a stage needs both of its kinds of layers, and its states cannot be taken back",
      "qwen3next qwen35 qwen35moe falcon-h1 jamba lfm2 lfm2moe granitehybrid kimi-linear bailingmoe3 mamba mamba2"
    ]
  ].flatMap(([why = "", names = ""]) => names.split(" ").map((name) => [name, why] as const))
)
