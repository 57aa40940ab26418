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
export const encode = (value: unknown): Uint8Array => packr.pack(value)

/** Returns the same behind `count` bytes, at most 255, that hold anything: for what stands in front of it. */
export const encodeBehind = (count: number, value: unknown): Uint8Array =>
  packr.pack(value, RESERVE_START_SPACE | count)

/** Returns the value, or `None` where the bytes are not exactly one value of the types above. Never throws. */
export const decode = (bytes: Uint8Array): Option.Option<unknown> =>
  scan(bytes) ? Option.liftThrowable((): unknown => packr.unpack(bytes))() : Option.none()

/** Returns whether `bytes` hold exactly one value within the bounds. Linear in their number, allocates nothing. */
export const scan = (bytes: Uint8Array): boolean => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
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
    const head = readHead(view, at)
    if (head === undefined) return false
    at = head.end
    // Each value takes a byte at least, so a longer claim than what is left is a lie.
    if (at > bytes.length || head.values > bytes.length - at) return false
    if (head.values > 0) {
      if (depth === depthMax) return false
      open[depth++] = left
      left = head.values
    }
  }
}

// internal

interface Head {
  /** Offset past the value's own bytes. */
  readonly end: number
  /** Values that follow inside it: elements, or keys and their values. */
  readonly values: number
}

const scalar = (end: number): Head => ({ end, values: 0 })

/** Bytes after the first of the formats 0xc0…0xdf that have a fixed length; -1 for those with one of their own. */
const fixedLength: ReadonlyArray<number> = [
  ...[0, -2, 0, 0, -1, -1, -1, -2, -2, -2, 4, 8, 1, 2, 4, 8],
  ...[1, 2, 4, 8, -2, -2, -2, -2, -2, -1, -1, -1, -1, -1, -1, -1]
]

/** Reads what the format byte at `at` announces (https://github.com/msgpack/msgpack/blob/master/spec.md). */
const readHead = (view: DataView, at: number): Head | undefined => {
  if (at >= view.byteLength) return undefined
  const format = view.getUint8(at)
  const next = at + 1
  if (format < 0x80 || format >= 0xe0) return scalar(next)
  if (format < 0x90) return { end: next, values: (format & 0x0f) * 2 }
  if (format < 0xa0) return { end: next, values: format & 0x0f }
  if (format < 0xc0) return scalar(next + (format & 0x1f))
  const fixed = fixedLength[format - 0xc0] ?? -2
  if (fixed >= 0) return scalar(next + fixed)
  if (fixed === -2) return undefined // never used, or an extension
  return readCounted(view, next, format)
}

const readCounted = (view: DataView, at: number, format: number): Head | undefined => {
  const width = [0xc4, 0xd9].includes(format) ? 1 : [0xc5, 0xda, 0xdc, 0xde].includes(format) ? 2 : 4
  if (at + width > view.byteLength) return undefined
  const count = width === 1 ? view.getUint8(at) : width === 2 ? view.getUint16(at) : view.getUint32(at)
  const end = at + width
  if (format >= 0xde) return { end, values: count * 2 }
  return format >= 0xdc ? { end, values: count } : scalar(end + count)
}
