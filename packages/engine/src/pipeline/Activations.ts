/**
 * How hidden states lie in frames between stages: `f32` as they were computed, so that a split is exact; `f16` at half
 * of the bytes; `q8` at little more than a quarter: blocks of 32 values of a row, each a scale in single precision and
 * 32 whole numbers of 8 bits. Pure; little-endian, as are the weights and all computers that Weft runs on.
 */
import { Schema } from "effect"

/** Represents how values are stored; all but `f32` change what a split answers. */
export const ActivationType = Schema.Literal("f32", "f16", "q8")
export type ActivationType = typeof ActivationType.Type

/** Values of a block of `q8`, as many as llama.cpp's Q8_0 has: all but odd models are as wide as whole blocks. */
export const blockValues = 32
/**
 * Bytes of a block of `q8`. The scale has single precision: one of half precision would save 6 % and be too small for
 * the least hidden states and too large for the greatest.
 */
export const blockBytes = 4 + blockValues

/** Represents values as bytes. */
export interface Stored {
  /** Not what was asked for where that does not hold the values. */
  readonly type: ActivationType
  /** May share the memory of the values. */
  readonly bytes: Uint8Array
}

/** Returns why hidden states of `width` values are not stored as `type`; none where they are. */
export const faultOf = (type: ActivationType, width: number): string | undefined =>
  type === "q8" && width % blockValues !== 0
    ? `rows of ${width} values are no whole blocks of ${blockValues}, as q8 has them; take f16 or f32`
    : undefined

/** Returns the bytes of a row of `width` values, which `type` holds. */
export const rowBytes = (type: ActivationType, width: number): number => {
  switch (type) {
    case "f32":
      return width * 4
    case "f16":
      return width * 2
    case "q8":
      return (width / blockValues) * blockBytes
  }
}

/**
 * Returns rows of `width` values as `type`. Where one of them is not finite, or more than the type can say (65,504 for
 * `f16`), or the rows are no whole blocks, all are stored as `f32`: a value that was cut would be another model's.
 */
export const store = (values: Float32Array, width: number, type: ActivationType): Stored => {
  if (type === "f16" && peakOf(values, 0, values.length) < halfEnd)
    return { type, bytes: bytesOf(new Float16Array(values)) }
  if (type === "q8" && faultOf(type, width) === undefined) {
    const bytes = inBlocks(values)
    if (bytes !== undefined) return { type, bytes }
  }
  return { type: "f32", bytes: bytesOf(values) }
}

/** Returns the values that `bytes` of whole rows hold; may share their memory. A stranger's may be no numbers. */
export const load = (bytes: Uint8Array, type: ActivationType): Float32Array => {
  switch (type) {
    case "f32":
      return new Float32Array(...aligned(bytes, 4))
    case "f16":
      return new Float32Array(new Float16Array(...aligned(bytes, 2)))
    case "q8":
      return outOfBlocks(bytes)
  }
}

/** Tells whether all values are finite numbers. */
export const isFinite = (values: Float32Array): boolean => {
  // A sum that is finite times 0 is 0; each value that is not makes it NaN.
  let sum = 0
  for (let at = 0; at < values.length; at++) sum += (values[at] ?? 0) * 0
  return sum === 0
}

/** Returns the memory of `bytes` as the numbers' constructors take it; copied where it begins at an odd place. */
export const aligned = (bytes: Uint8Array, each: number): readonly [ArrayBufferLike, number, number] => {
  // The `slice` of a Buffer would be no copy.
  const whole = bytes.byteOffset % each === 0 ? bytes : new Uint8Array(bytes)
  return [whole.buffer, whole.byteOffset, whole.length / each]
}

/** Returns the memory of an array. */
export const bytesOf = ({ buffer, byteLength, byteOffset }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)

// internal

/** What is nearer to the end of half precision than to 65,504, its greatest number, is infinity there. */
const halfEnd = 65_520
/** The greatest whole number of a block; −128 is left out, so that both signs reach as far. */
const stepsMax = 127
/** Blocks with less are zeros: their scale would have lost its precision. */
const peakMin = 2 ** -100
/** Blocks with more might come back as infinity. */
const peakMax = 2 ** 127

const floatsOfBlock = blockBytes / 4

/** Returns values as blocks; none where one of them is not finite or beyond `peakMax`. */
const inBlocks = (values: Float32Array): Uint8Array | undefined => {
  const blocks = values.length / blockValues
  const bytes = new Uint8Array(blocks * blockBytes)
  const scales = new Float32Array(bytes.buffer)
  const steps = new Int8Array(bytes.buffer)
  for (let block = 0; block < blocks; block++) {
    const from = block * blockValues
    const peak = peakOf(values, from, from + blockValues)
    if (!(peak <= peakMax)) return undefined
    if (peak < peakMin) continue
    const scale = Math.fround(peak / stepsMax)
    scales[block * floatsOfBlock] = scale
    const to = block * blockBytes + 4
    for (let at = 0; at < blockValues; at++) steps[to + at] = Math.round((values[from + at] ?? 0) / scale)
  }
  return bytes
}

/** Returns the greatest magnitude of the values `from` up to, and without, `to`; NaN where one is none. */
const peakOf = (values: Float32Array, from: number, to: number): number => {
  let peak = 0
  for (let at = from; at < to; at++) peak = Math.max(peak, Math.abs(values[at] ?? 0))
  return peak
}

const outOfBlocks = (bytes: Uint8Array): Float32Array => {
  const scales = new Float32Array(...aligned(bytes, 4))
  const steps = new Int8Array(scales.buffer, scales.byteOffset, bytes.length)
  const blocks = bytes.length / blockBytes
  const values = new Float32Array(blocks * blockValues)
  for (let block = 0; block < blocks; block++) {
    const scale = scales[block * floatsOfBlock] ?? 0
    const from = block * blockBytes + 4
    const to = block * blockValues
    for (let at = 0; at < blockValues; at++) values[to + at] = scale * (steps[from + at] ?? 0)
  }
  return values
}
