/**
 * What the gate asks of a stage file beyond what it asks of any: it may come from another peer, so all that it says of
 * itself must fit, and the stage must be one that this architecture's rules allow.
 */
import { Either } from "effect"
import { arrayValuesMax, type GgufEntry, type GgufHeader } from "../GgufHeader.ts"
import { refuse, shown } from "../GgufRejected.ts"
import { isFirst, isLast, type StageKeys, stageKey, stagePrefix } from "./StageKeys.ts"
import { rulesOfStage } from "./StageRules.ts"
import { placeOf, standInRows } from "./StageTensors.ts"

type Entries = ReadonlyMap<string, GgufEntry>

/** Returns what the file says of itself as a stage; throws `GgufRejected`. */
export const stageKeysOf = (entries: Entries): StageKeys => {
  const known = new Set<string>(Object.values(stageKey))
  for (const key of entries.keys())
    if (key.startsWith(stagePrefix) && !known.has(key)) refuse("StageFile", `The key ${shown(key)} is unknown`)
  const from = whole(entries, stageKey.from, 0)
  const to = whole(entries, stageKey.to, from + 1)
  const layers = whole(entries, stageKey.layers, to)
  const source = entries.get(stageKey.source)?.value
  if (source !== undefined && !(typeof source === "string" && /^[0-9a-f]{64}$/.test(source)))
    return refuse("StageFile", `The key ${stageKey.source} is not a SHA-256`)
  const scale = entries.get(stageKey.inputScale)
  if (scale !== undefined && !(scale.type === "float32" && typeof scale.value === "number"))
    return refuse("StageFile", `The key ${stageKey.inputScale} is not a number of single precision`)
  return { from, to, layers, source, inputScale: typeof scale?.value === "number" ? scale.value : undefined }
}

/** Checks the stage against the rules of its architecture; throws `GgufRejected`. */
export const checkStage = (header: GgufHeader, stage: StageKeys): void => {
  const { architecture, layers, metadata } = header
  if (layers !== stage.to - stage.from)
    refuse("StageFile", `The stage of layers ${stage.from} to ${stage.to} holds ${layers} layers`)
  const { inputScale, needsHead } = Either.getOrElse(rulesOfStage(header, stage), ({ detail }) =>
    refuse("StageFile", detail)
  )
  if (!Object.is(stage.inputScale, isFirst(stage) ? undefined : inputScale))
    refuse("StageFile", `The key ${stageKey.inputScale} is ${stage.inputScale}, not ${inputScale}`)
  const names = new Set(header.tensors.map(({ name }) => name))
  for (const name of ["output_norm.weight", ...(needsHead ? ["output.weight"] : [])])
    if (!names.has(name)) refuse("BadShape", `The tensor ${name} is missing`)
  for (const tensor of header.tensors) {
    const place = Either.try(() => placeOf(tensor))
    if (Either.isLeft(place)) refuse("StageFile", `The tensor ${shown(tensor.name)} has no place in a stage`)
  }
  if (!isFirst(stage) && !isLast(stage)) checkInner(metadata, architecture)
}

// internal

/** A stage that sees no tokens brings no tokenizer that could be crafted. */
const checkInner = (metadata: Entries, architecture: string): void => {
  const tokenizer = [...metadata.keys()].filter((key) => key.startsWith("tokenizer."))
  if (tokenizer.length !== 1 || metadata.get("tokenizer.ggml.model")?.value !== "no_vocab")
    refuse("BadTokenizer", "A stage between others brings a tokenizer")
  const size = metadata.get(`${architecture}.vocab_size`)?.value
  if (size !== standInRows) refuse("BadTokenizer", `A stage between others has ${standInRows} tokens, not ${size}`)
}

const whole = (entries: Entries, key: string, least: number): number => {
  const entry = entries.get(key)
  if (entry === undefined) return refuse("StageFile", `The key ${key} is missing`)
  const { type, value } = entry
  if (type === "uint32" && typeof value === "number" && value >= least && value <= arrayValuesMax) return value
  return refuse("StageFile", `The key ${key} is not a number of 32 bits from ${least} to ${arrayValuesMax}`)
}
