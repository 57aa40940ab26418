/**
 * Plain MessagePack for what travels: nil, booleans, numbers, text, bytes, arrays and maps with text keys. Bytes of
 * strangers are scanned before they are decoded, so that no length they claim is believed.
 */
import { Option } from "effect"
import { Packr, RESERVE_START_SPACE } from "msgpackr"

/** Deepest nesting; the deepest message of Weft (an announcement's offers with a model's stages) has 7. */
export const depthMax = 32

// moreTypes and records are extensions of msgpackr's own, which nobody else reads; 64-bit numbers stay numbers.
const packr = new Packr({ useRecords: false, moreTypes: false, int64AsType: "number" })

/** Returns the encoding of a value of the types above; the array is the caller's. */
export const encode = (value: unknown): Uint8Array =>
  value instanceof Uint8Array ? packBytes(0, value) : packr.pack(value)

/** Returns the same behind `count` bytes, at most 255, that hold anything: for what stands in front of it. */
export const encodeBehind = (count: number, value: unknown): Uint8Array =>
  value instanceof Uint8Array ? packBytes(count, value) : packr.pack(value, RESERVE_START_SPACE | count)

/**
 * Returns the value, or `None` where the bytes are not exactly one value of the types above. Never throws. Bytes are a
 * view of those given.
 */
export const decode = (bytes: Uint8Array): Option.Option<unknown> =>
  bytes[0] === bin32 ? unpackBytes(bytes) : scan(bytes) ? unpack(bytes) : Option.none()

/** Returns whether `bytes` hold exactly one value within the bounds. Linear in their number. */
export const scan = (bytes: Uint8Array): boolean => {
  const open: Array<number> = [] // values still to come at each depth
  let at = 0
  let depth = 0
  let left = 1
  while (true) {
    while (left === 0) {
      if (depth === 0) return at === bytes.length
      left = open[--depth] ?? 0
    }
    left--
    // What the format byte announces: bytes of the value's own, and values inside it.
    const format = bytes[at++] ?? neverUsed
    let values = 0
    if (format < 0x80 || format >= 0xe0) values = 0
    else if (format < 0x90) values = (format & 0x0f) * 2
    else if (format < 0xa0) values = format & 0x0f
    else if (format < 0xc0) at += format & 0x1f
    else {
      const width = countBytes[format - 0xc0] ?? 0
      if (width > 0) {
        const count = readCount(bytes, at, width)
        at += width
        if (format < 0xdc) at += count
        else values = format < 0xde ? count : count * 2
      } else {
        const length = fixedLength[format - 0xc0] ?? refused
        if (length === refused) return false
        at += length
      }
    }
    // Each value takes a byte at least, so a longer claim than what is left is a lie.
    if (at > bytes.length || values > bytes.length - at) return false
    if (values > 0) {
      if (depth === depthMax) return false
      open[depth++] = left
      left = values
    }
  }
}

// internal

const unpack = Option.liftThrowable((bytes: Uint8Array): unknown => packr.unpack(bytes))

// Bytes alone, as stages send each other by the hundred, need neither scan nor library: format, count, then themselves.
const bin32 = 0xc6
const bin32HeaderBytes = 5

const packBytes = (count: number, value: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(count + bin32HeaderBytes + value.length)
  bytes[count] = bin32
  for (let at = count + bin32HeaderBytes - 1, rest = value.length; at > count; at--, rest >>>= 8) bytes[at] = rest
  bytes.set(value, count + bin32HeaderBytes)
  return bytes
}

const unpackBytes = (bytes: Uint8Array): Option.Option<Uint8Array> => {
  if (bytes.length < bin32HeaderBytes || readCount(bytes, 1, 4) !== bytes.length - bin32HeaderBytes)
    return Option.none()
  return Option.some(bytes.subarray(bin32HeaderBytes))
}

// Formats 0xc0 to 0xdf (https://github.com/msgpack/msgpack/blob/master/spec.md), in rows of 16.

/** Stands in the table below for formats that are never used, for extensions, and for those that are counted. */
const refused = -1
const neverUsed = 0xc1

/** Bytes behind a format of fixed length. */
const fixedLength: ReadonlyArray<number> = [
  ...[0, -1, 0, 0, -1, -1, -1, -1, -1, -1, 4, 8, 1, 2, 4, 8],
  ...[1, 2, 4, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1]
]

/** Bytes of the count behind a format that has one: of bytes below 0xdc, of elements or of pairs from there. */
const countBytes: ReadonlyArray<number> = [
  ...[0, 0, 0, 0, 1, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  ...[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4]
]

/** Reads a count of `width` bytes, big-endian; what lies behind the end is read as 0, and the value then ends there. */
const readCount = (bytes: Uint8Array, at: number, width: number): number => {
  let count = 0
  for (let index = at; index < at + width; index++) count = count * 256 + (bytes[index] ?? 0)
  return count
}
