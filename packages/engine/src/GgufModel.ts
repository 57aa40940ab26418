/**
 * Makes the header of a model out of a GGUF file's tables, and refuses what the pinned llama.cpp could not run or
 * would die of: sizes that do not fit one another, blocks that are missing, a vocabulary of another length.
 */

import { templateCharactersMax } from "./ChatTemplate.ts"
import type { GgufArray, GgufEntry, GgufHeader, GgufTensor, GgufTokens, GgufValueType } from "./GgufHeader.ts"
import { decode, eachString } from "./GgufReader.ts"
import { refuse, shown } from "./GgufRejected.ts"
import { fileTypeName } from "./GgufTypes.ts"
import { checkStage, stageKeysOf } from "./stage/StageChecks.ts"
import { isFirst, isLast, isStage, type StageKeys } from "./stage/StageKeys.ts"
import { standInRows } from "./stage/StageTensors.ts"

/** Most layers: llama.cpp's arrays have 512, and a larger `block_count` wrote behind them (llama.cpp issue 26051). */
export const layersMax = 512
/** Largest of all sizes that metadata state, so that no product of two leaves the exact numbers. */
const sizeMax = 2 ** 26
/** Most characters of `general.name` and of a quantisation's name that are kept. */
const nameCharactersMax = 256

/**
 * Architectures of the pinned llama.cpp that answer a text with a text. Left out are those that embed, draft, speak,
 * need an encoder, or come only with a tokenizer that is refused below.
 */
const architectures = new Set(
  (
    "llama llama4 deci falcon grok gpt2 gptj gptneox mpt baichuan starcoder refact bloom stablelm qwen qwen2 " +
    "qwen2moe qwen2vl qwen3 qwen3moe qwen3next qwen3vl qwen3vlmoe qwen35 qwen35moe qwen4exp phi2 phi3 phimoe " +
    "plamo codeshell orion internlm2 minicpm minicpm3 gemma gemma2 gemma3 gemma3n gemma4 starcoder2 mamba mamba2 " +
    "maple jamba falcon-h1 xverse command-r cohere2 cohere2moe dbrx olmo olmo2 olmoe muse-glimmer openelm arctic " +
    "deepseek deepseek2 deepseek2-ocr deepseek32 deepseek4 chatglm glm4 glm4moe glm-dsa bitnet jais jais2 " +
    "nemotron nemotron_h nemotron_h_moe exaone exaone4 exaone-moe rwkv6 rwkv6qwen2 rwkv7 arwkv7 granite " +
    "granitemoe granitehybrid graniteswitch granite_swa chameleon plm bailingmoe bailingmoe2 bailingmoe3 dots1 " +
    "dots3note arcee afmoe laguna ernie4_5 ernie4_5-moe hunyuan-moe hunyuan-dense hunyuan_vl hy_v3 hy_v4 smollm3 " +
    "gpt-oss lfm2 lfm2moe smallthinker seed_oss grovemoe apertus minimax-01 hrm_text minimax-m2 minimax-m3 cogvlm " +
    "pangu-embedded mistral3 mistral4 paddleocr mimo2 step35 spark2_5 maincoder kimi-linear kimi-k3 talkie mellum " +
    "nanbeige"
  ).split(" ")
)

/** Architectures whose attention is the plain one: its tensors' shapes follow from the head counts alone. */
const plainAttention = new Set(["llama", "qwen2", "qwen3", "mistral3"])

/**
 * Tokenizers a file may ask for: byte pairs, SentencePiece and RWKV's. Left out is `plamo2`, whose tables a crafted
 * file turned into writes out of bounds (llama.cpp issue 25969), and those without text.
 */
const tokenizers = new Set(["llama", "gpt2", "gemma4", "rwkv"])

/** Token types that plain text must not produce: `UNKNOWN` and `CONTROL` of `llama_token_type`. */
const controlTypes: ReadonlySet<number> = new Set([2, 3])
/** Texts that llama.cpp takes for control tokens whatever type the file gives them. */
const controlLooking = /^<[|｜].*[|｜]>$/su
/** The byte such texts begin with, `<`. */
const lessThan = 0x3c
/** Most control tokens: Gemma 3 has 6,242 unused ones. */
const controlTokensMax = 16_384

/** Represents what `describe` looks at: checked tensors and the bytes the tables were read from. */
export interface GgufTables {
  readonly version: number
  readonly alignmentBytes: number
  readonly dataOffset: number
  readonly entries: ReadonlyMap<string, GgufEntry>
  readonly tensors: ReadonlyArray<GgufTensor>
  readonly bytes: Uint8Array
}

/** Represents what a file is to be: a whole model, or some layers of one. */
export type GgufKind = "model" | "stage"

/** Returns the header of what is in `tables`; throws `GgufRejected`, as `refuse` does. */
export const describe = (tables: GgufTables, kind: GgufKind): GgufHeader => {
  const { entries, tensors } = tables
  const architecture = architectureOf(entries)
  const stage = stageOf(entries, kind)
  const parts = entries.get("split.count")?.value ?? 1
  if (parts !== 1 && parts !== 0) return refuse("SplitFile", `The file is one of ${parts} parts of a model`)
  const layers = size(entries, `${architecture}.block_count`, layersMax)
  const embeddingLength = size(entries, `${architecture}.embedding_length`, sizeMax)
  const contextTokens = size(entries, `${architecture}.context_length`, sizeMax)
  const isInner = stage !== undefined && !isFirst(stage) && !isLast(stage)
  const vocabulary = isInner ? undefined : vocabularyOf(entries)
  const vocabularySize = vocabulary?.length ?? standInRows
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]))
  const shapes = { architecture, layers, embeddingLength, vocabularySize, byName }
  checkBlocks(tensors, layers)
  checkShapes(entries, shapes)
  const header: GgufHeader = {
    version: tables.version,
    architecture,
    name: text(entries, "general.name")?.slice(0, nameCharactersMax),
    contextTokens,
    layers,
    embeddingLength,
    vocabularySize,
    quantization: quantizationOf(entries, tensors),
    chatTemplate: chatTemplateOf(entries),
    tokens: vocabulary === undefined ? noTokens : tokensOf(entries, tables.bytes, vocabulary),
    stage,
    alignmentBytes: tables.alignmentBytes,
    dataOffset: tables.dataOffset,
    metadata: entries,
    tensors
  }
  if (stage !== undefined) checkStage(header, stage)
  return header
}

/** What a stage that sees no tokens knows of them. */
const noTokens: GgufTokens = { bosToken: "", eosToken: "", controlTokens: [], addBos: false }

/** Returns what the file says of itself as a stage, where it is to be one. */
const stageOf = (entries: GgufTables["entries"], kind: GgufKind): StageKeys | undefined => {
  if (kind === "stage") return stageKeysOf(entries)
  return isStage(entries) ? refuse("StageFile", "The file holds some layers of a model only") : undefined
}

const architectureOf = (entries: GgufTables["entries"]): string => {
  const name = text(entries, "general.architecture")
  if (name === undefined || name === "") return refuse("NoArchitecture", "The key general.architecture is missing")
  if (!architectures.has(name)) return refuse("UnsupportedArchitecture", `The architecture is ${shown(name)}`)
  return name
}

/** Every layer of the metadata has tensors, and no tensor is of a layer beyond them. */
const checkBlocks = (tensors: ReadonlyArray<GgufTensor>, layers: number): void => {
  const present = new Set<number>()
  for (const { name } of tensors) {
    const block = /^blk\.(\d{1,9})\./.exec(name)?.[1]
    if (block === undefined) continue
    if (Number(block) >= layers)
      refuse("BadShape", `The tensor ${shown(name)} is of a layer beyond the ${layers} stated`)
    present.add(Number(block))
  }
  if (present.size !== layers) refuse("BadShape", `The file states ${layers} layers and holds ${present.size}`)
}

interface Shapes {
  readonly architecture: string
  readonly layers: number
  readonly embeddingLength: number
  readonly vocabularySize: number
  readonly byName: ReadonlyMap<string, GgufTensor>
}

const checkShapes = (entries: GgufTables["entries"], shapes: Shapes): void => {
  const { architecture, layers, embeddingLength, vocabularySize, byName } = shapes
  const heads = perLayer(entries, `${architecture}.attention.head_count`, layers)
  const groups = perLayer(entries, `${architecture}.attention.head_count_kv`, layers) ?? heads
  const keyLengthStated = entries.has(`${architecture}.attention.key_length`)
  const expect = (name: string, dims: ReadonlyArray<number>): void => {
    const found = byName.get(name)?.dims
    if (found !== undefined && (found.length !== dims.length || found.some((dim, index) => dim !== dims[index])))
      refuse("BadShape", `The tensor ${shown(name)} is [${found}], the metadata ask for [${dims}]`)
  }
  if (!byName.has("token_embd.weight")) refuse("BadShape", "The tensor token_embd.weight is missing")
  expect("token_embd.weight", [embeddingLength, vocabularySize])
  expect("output.weight", [embeddingLength, vocabularySize])
  expect("output_norm.weight", [embeddingLength])
  for (let layer = 0; layer < layers; layer++) {
    expect(`blk.${layer}.attn_norm.weight`, [embeddingLength])
    expect(`blk.${layer}.ffn_norm.weight`, [embeddingLength])
    const head = heads?.[layer] ?? 0
    const group = groups?.[layer] ?? 0
    if (head === 0) continue
    if (group > 0 && head % group !== 0)
      refuse("BadShape", `Layer ${layer} has ${head} heads, which ${group} key heads do not divide`)
    if (!keyLengthStated && embeddingLength % head !== 0)
      refuse("BadShape", `Layer ${layer} has ${head} heads, which do not divide ${embeddingLength}`)
    if (!plainAttention.has(architecture)) continue
    const keyLength = optionalSize(entries, `${architecture}.attention.key_length`) ?? embeddingLength / head
    const valueLength = optionalSize(entries, `${architecture}.attention.value_length`) ?? keyLength
    expect(`blk.${layer}.attn_q.weight`, [embeddingLength, head * keyLength])
    expect(`blk.${layer}.attn_k.weight`, [embeddingLength, group * keyLength])
    expect(`blk.${layer}.attn_v.weight`, [embeddingLength, group * valueLength])
    expect(`blk.${layer}.attn_output.weight`, [head * valueLength, embeddingLength])
  }
}

const vocabularyOf = (entries: GgufTables["entries"]): GgufArray => {
  const model = text(entries, "tokenizer.ggml.model")
  const tokens = array(entries, "tokenizer.ggml.tokens", "string")
  if (model === undefined || tokens === undefined || tokens.length === 0)
    return refuse("NoTokenizer", "The file brings no tokenizer, or one without tokens")
  if (!tokenizers.has(model)) return refuse("BadTokenizer", `The tokenizer is ${shown(model)}`)
  for (const [key, type] of [
    ["tokenizer.ggml.scores", "float32"],
    ["tokenizer.ggml.token_type", "int32"]
  ] as const) {
    const length = array(entries, key, type)?.length
    if (length !== undefined && length !== tokens.length)
      return refuse("BadTokenizer", `${key} has ${length} elements for ${tokens.length} tokens`)
  }
  array(entries, "tokenizer.ggml.merges", "string")
  array(entries, "tokenizer.ggml.precompiled_charsmap", "uint8")
  for (const key of ["tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"]) {
    const id = entries.get(key)?.value
    if (id !== undefined && !(typeof id === "number" && Number.isInteger(id) && id >= 0 && id < tokens.length))
      return refuse("BadTokenizer", `${key} is not one of the ${tokens.length} tokens`)
  }
  return tokens
}

const tokensOf = (entries: GgufTables["entries"], bytes: Uint8Array, vocabulary: GgufArray): GgufTokens => {
  const types = array(entries, "tokenizer.ggml.token_type", "int32")
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const bos = entries.get("tokenizer.ggml.bos_token_id")?.value
  const eos = entries.get("tokenizer.ggml.eos_token_id")?.value
  const controlTokens: Array<string> = []
  let bosToken = ""
  let eosToken = ""
  eachString(bytes, vocabulary, (index, from, to) => {
    if (index === bos) bosToken = decode(bytes, from, to)
    if (index === eos) eosToken = decode(bytes, from, to)
    const typed = types !== undefined && controlTypes.has(view.getInt32(types.offset + index * 4, true))
    if (!typed && bytes[from] !== lessThan) return
    const token = decode(bytes, from, to)
    if (typed || controlLooking.test(token)) controlTokens.push(token)
  })
  if (controlTokens.length > controlTokensMax)
    return refuse("BadTokenizer", `The tokenizer has ${controlTokens.length} control tokens`)
  return { bosToken, eosToken, controlTokens, addBos: addsBos(entries) }
}

/** Whether texts begin with the BOS token: as stated, else as llama.cpp does, for SentencePiece alone. */
const addsBos = (entries: GgufTables["entries"]): boolean => {
  const stated = entries.get("tokenizer.ggml.add_bos_token")
  if (stated === undefined) return text(entries, "tokenizer.ggml.model") === "llama"
  return typeof stated.value === "boolean" ? stated.value : refuse("BadTokenizer", "add_bos_token is not a truth value")
}

const chatTemplateOf = (entries: GgufTables["entries"]): string | undefined => {
  const template = text(entries, "tokenizer.chat_template")
  if (template !== undefined && template.length > templateCharactersMax)
    return refuse("TemplateTooLarge", `The chat template has ${template.length} characters`)
  return template === "" ? undefined : template
}

const quantizationOf = (entries: GgufTables["entries"], tensors: ReadonlyArray<GgufTensor>): string => {
  const stated = entries.get("general.file_type")?.value
  const name = typeof stated === "number" ? fileTypeName(stated) : undefined
  if (name !== undefined) return name
  const bytes = new Map<string, number>()
  for (const { type, sizeBytes } of tensors) bytes.set(type.name, (bytes.get(type.name) ?? 0) + sizeBytes)
  return [...bytes].reduce((most, one) => (one[1] > most[1] ? one : most), ["", -1] as const)[0]
}

const text = (entries: GgufTables["entries"], key: string): string | undefined => {
  const value = entries.get(key)?.value
  if (value === undefined || typeof value === "string") return value
  return refuse("BadMetadata", `${shown(key)} is not a string`)
}

const array = (entries: GgufTables["entries"], key: string, elementType: GgufValueType): GgufArray | undefined => {
  const entry = entries.get(key)
  if (entry === undefined) return undefined
  if (entry.type === "array" && entry.value.elementType === elementType) return entry.value
  return refuse("BadTokenizer", `${shown(key)} is not an array of ${elementType}`)
}

const size = (entries: GgufTables["entries"], key: string, most: number): number =>
  optionalSize(entries, key, most) ?? refuse("BadShape", `The key ${shown(key)} is missing`)

const optionalSize = (entries: GgufTables["entries"], key: string, most = sizeMax): number | undefined => {
  const value = entries.get(key)?.value
  if (value === undefined) return undefined
  if (typeof value === "number" && Number.isInteger(value) && value > 0 && value <= most) return value
  return refuse("BadShape", `${shown(key)} is not a whole number from 1 to ${most}`)
}

/** Returns a size that is one number for all layers or an array with one for each, zero allowed. */
const perLayer = (entries: GgufTables["entries"], key: string, layers: number): ReadonlyArray<number> | undefined => {
  const value = entries.get(key)?.value
  if (value === undefined) return undefined
  const values = typeof value === "object" ? (value.values ?? []) : Array.from({ length: layers }, () => value)
  const numbers = values.filter(
    (one): one is number => typeof one === "number" && Number.isInteger(one) && one >= 0 && one <= sizeMax
  )
  if (values.length === layers && numbers.length === layers) return numbers
  return refuse("BadShape", `${shown(key)} is not one whole number, nor one for each of ${layers} layers`)
}
