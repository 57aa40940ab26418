/**
 * Random weights as llama.cpp stores them: blocks whose values have mean 0 and a given deviation, so that activations
 * stay finite through any number of layers. Layouts: `block_q4_K`, `block_q6_K` and `block_q8_0` of ggml-common.h.
 */
import type { Seeded } from "../Seeded.ts"

/** Represents a tensor type: its number in the format, and what fills its blocks. */
export interface BlockType {
  readonly number: number
  readonly blockElements: number
  readonly blockBytes: number
  /** Fills `bytes`, whole blocks, with values of that deviation; those of a block that is silent become 0. */
  readonly fill: (bytes: Uint8Array, chance: Seeded, deviation: number, isSilent: IsSilent) => void
}

/** Says of the block at this place of `bytes`, counted from 0, whether all of its elements are 0. */
export type IsSilent = (block: number) => boolean

const draw = (bytes: Uint8Array, chance: Seeded): DataView => {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / 4))
  for (let at = 0; at < words.length; at++) words[at] = chance.bits()
  for (let at = words.length * 4; at < bytes.length; at++) bytes[at] = chance.bits()
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Root mean square of whole numbers spread evenly over 32…63, as the scales of Q4_K are drawn. */
const scaleOfQ4K = Math.sqrt((63 * 64 * 127 - 31 * 32 * 63) / 6 / 32)
/** Deviation of 0…15 and of 0…63, spread evenly: √((n² − 1) / 12). */
const deviationOf4Bits = Math.sqrt(255 / 12)
const deviationOf6Bits = Math.sqrt(4095 / 12)
/** Root mean square of scales spread evenly over ±64…±127. */
const scaleOfQ6K = Math.sqrt((127 * 128 * 255 - 63 * 64 * 127) / 6 / 64)
/** Mean of 0…15: minimum and scale of a sub-block are in this proportion, so that its values have mean 0. */
const meanOf4Bits = 7.5

/** A value is `d · scale · q − dmin · min`: two halves, 8 scales and 8 minima of 6 bits in 12 bytes, 256 × 4 bits. */
const q4K: BlockType = {
  number: 12,
  blockElements: 256,
  blockBytes: 144,
  fill: (bytes, chance, deviation, isSilent) => {
    const view = draw(bytes, chance)
    const unit = deviation / (deviationOf4Bits * scaleOfQ4K)
    for (let at = 0; at < bytes.length; at += 144) {
      const silent = isSilent(at / 144)
      view.setFloat16(at, silent ? 0 : unit, true)
      view.setFloat16(at + 2, silent ? 0 : view.getFloat16(at, true) * meanOf4Bits, true)
      for (let pair = 0; pair < 4; pair++) {
        // the random byte's halves: a scale of the first four sub-blocks and one of the last four; minimum = scale
        const low = 32 | (view.getUint8(at + 4 + pair) & 31)
        const high = 32 | (view.getUint8(at + 8 + pair) & 31)
        const packed = low | ((high >> 4) << 6)
        view.setUint8(at + 4 + pair, packed)
        view.setUint8(at + 8 + pair, packed)
        view.setUint8(at + 12 + pair, (high & 15) | ((high & 15) << 4))
      }
    }
  }
}

/** A value is `d · scale · (q − 32)`: 256 × 6 bits in two tables, 16 signed scales, one half. */
const q6K: BlockType = {
  number: 14,
  blockElements: 256,
  blockBytes: 210,
  fill: (bytes, chance, deviation, isSilent) => {
    const view = draw(bytes, chance)
    const unit = deviation / (deviationOf6Bits * scaleOfQ6K)
    for (let at = 0; at < bytes.length; at += 210) {
      for (let scale = at + 192; scale < at + 208; scale++) {
        const byte = view.getUint8(scale)
        view.setInt8(scale, (byte & 128 ? -1 : 1) * (64 | (byte & 63)))
      }
      view.setFloat16(at + 208, isSilent(at / 210) ? 0 : unit, true)
    }
  }
}

/** Deviation of −128…127, spread evenly. */
const deviationOf8Bits = Math.sqrt(65_535 / 12)

/** A value is `d · q`: one half, 32 × 8 bits. */
const q8: BlockType = {
  number: 8,
  blockElements: 32,
  blockBytes: 34,
  fill: (bytes, chance, deviation, isSilent) => {
    const view = draw(bytes, chance)
    const unit = deviation / deviationOf8Bits
    for (let at = 0; at < bytes.length; at += 34) view.setFloat16(at, isSilent(at / 34) ? 0 : unit, true)
  }
}

/** Values spread evenly, each a half of its own; a spread over ±1 has a deviation of 1 / √3. */
const f16: BlockType = {
  number: 1,
  blockElements: 1,
  blockBytes: 2,
  fill: (bytes, chance, deviation, isSilent) => {
    const view = draw(bytes, chance)
    const most = deviation * Math.sqrt(3)
    for (let at = 0; at < bytes.length; at += 2) {
      const even = view.getUint16(at, true) / 32_768 - 1
      view.setFloat16(at, isSilent(at / 2) ? 0 : even * most, true)
    }
  }
}

/** Norms are vectors of ones. */
const ones: BlockType = {
  number: 0,
  blockElements: 1,
  blockBytes: 4,
  fill: (bytes) => void new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4).fill(1)
}

/** The types that the files mix. */
export const blockTypes = { q4K, q6K, q8, f16, ones } as const
