/**
 * Reads the tables of a GGUF file (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) from the bytes at its
 * beginning. Pure and bounded: every count and length is checked before anything is made of it, so 30 bytes cannot
 * cost more than 30 bytes. What the tables mean is for `GgufGate`.
 */
import { Either } from "effect"
import {
  arrayValuesMax,
  type GgufArray,
  type GgufEntry,
  type GgufScalar,
  type GgufValueType,
  valueTypes
} from "./GgufHeader.ts"
import { type GgufReason, GgufRejected, refuse, shown } from "./GgufRejected.ts"

/** Most metadata keys: known models have at most about 100. */
export const keysMax = 1024
/** Most tensors: known models, which store all experts of a layer as one, have at most about 2,000. */
export const tensorsMax = 16_384
/** Most elements of an array: the largest vocabularies and merge lists known have about 0.6 million. */
export const arrayLengthMax = 1_000_000
/**
 * Most elements of all arrays together: twice what the largest vocabulary known has with scores, types and merges.
 */
export const elementsMax = 2_500_000
/** Most bytes of a key, as the format says. */
export const keyBytesMax = 65_535
/** Most bytes of a string that is a value of its own: licence texts and templates have some 100 KiB. */
export const stringBytesMax = 1024 * 1024
/** Most bytes of all strings that are values of their own. */
export const textBytesMax = 4 * 1024 * 1024
/** Most bytes of a string in an array: tokens and merges have at most some hundred. */
export const elementBytesMax = 65_535
/** Most bytes of a tensor's name: ggml's 64 with the closing zero. */
export const nameBytesMax = 63
/** Most dimensions of a tensor in ggml. */
export const dimensionsMax = 4

/** Represents one row of the tensor table as it stands there. */
export interface RawTensor {
  readonly name: string
  readonly dims: ReadonlyArray<number>
  readonly typeNumber: number
  /** Counted from the beginning of the data, which the table does not know. */
  readonly offset: number
}

/** Represents a GGUF file's tables. */
export interface RawHeader {
  readonly version: number
  readonly entries: ReadonlyMap<string, GgufEntry>
  readonly tensors: ReadonlyArray<RawTensor>
  /** Where the tables end. */
  readonly endOffset: number
}

/** Represents that the tables go on behind the bytes given; they end at `bytes` or later. */
export class NeedsBytes {
  readonly _tag = "NeedsBytes"
  constructor(readonly bytes: number) {}
}

/**
 * Returns the tables that `bytes`, the beginning of a file of `sizeBytes`, hold. Takes time linear in `bytes` and
 * keeps none of them.
 */
export const read = (bytes: Uint8Array, sizeBytes: number): Either.Either<RawHeader, GgufRejected | NeedsBytes> =>
  Either.try({
    try: () => readTables(new Cursor(bytes, sizeBytes)),
    catch: (error) => {
      if (error instanceof GgufRejected || error instanceof NeedsBytes) return error
      throw error
    }
  })

/** Calls `visit` with the place of each element of an array of strings that `read` has moved over in `bytes`. */
export const eachString = (
  bytes: Uint8Array,
  array: GgufArray,
  visit: (index: number, from: number, to: number) => void
): void => {
  let at = array.offset
  for (let index = 0; index < array.length; index++) {
    const from = at + 8
    at = from + lengthAt(bytes, at)
    visit(index, from, at)
  }
}

/** Returns the text from `from` to `to`; what is not UTF-8 becomes U+FFFD. */
export const decode = (bytes: Uint8Array, from: number, to: number): string => lenient.decode(bytes.subarray(from, to))

const exact = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const lenient = new TextDecoder("utf-8", { ignoreBOM: true })

/** Steps through the bytes; each step checks that they are there and otherwise ends the reading by throwing. */
class Cursor {
  at = 0
  private textBytes = 0
  private elements = 0
  private readonly view: DataView

  constructor(
    private readonly bytes: Uint8Array,
    private readonly sizeBytes: number
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Moves on by `length` bytes and returns where they began. */
  skip(length: number): number {
    const from = this.at
    const end = from + length
    if (end > this.sizeBytes) refuse("Truncated", `The header needs ${end} bytes, the file has ${this.sizeBytes}`)
    if (end > this.bytes.length) throw new NeedsBytes(end)
    this.at = end
    return from
  }

  u8 = (): number => this.view.getUint8(this.skip(1))
  i8 = (): number => this.view.getInt8(this.skip(1))
  u16 = (): number => this.view.getUint16(this.skip(2), true)
  i16 = (): number => this.view.getInt16(this.skip(2), true)
  u32 = (): number => this.view.getUint32(this.skip(4), true)
  i32 = (): number => this.view.getInt32(this.skip(4), true)
  f32 = (): number => this.view.getFloat32(this.skip(4), true)
  f64 = (): number => this.view.getFloat64(this.skip(8), true)
  u64 = (): number | bigint => narrow(this.view.getBigUint64(this.skip(8), true))
  i64 = (): number | bigint => narrow(this.view.getBigInt64(this.skip(8), true))

  bool(): boolean {
    const value = this.u8()
    if (value > 1) refuse("BadMetadata", `A truth value is ${value}`)
    return value === 1
  }

  /** Returns an unsigned 64-bit number that is at most `most`. */
  count(most: number, reason: GgufReason, what: string, prefix = ""): number {
    const from = this.skip(8)
    const value = this.view.getUint32(from, true) + this.view.getUint32(from + 4, true) * 2 ** 32
    return value <= most ? value : refuse(reason, `There are ${value} ${prefix}${what}, at most ${most} are allowed`)
  }

  /** Moves over a string and returns the bytes it has. */
  skipString(most: number, what: string): number {
    const length = this.count(most, "TooLarge", what, "bytes in ")
    this.skip(length)
    return length
  }

  string(most: number, what: string): string {
    const length = this.skipString(most, what)
    return lenient.decode(this.bytes.subarray(this.at - length, this.at))
  }

  /** Returns the length of an array. */
  arrayLength(what: string): number {
    const length = this.count(arrayLengthMax, "TooManyEntries", what, "elements in ")
    this.elements += length
    if (this.elements > elementsMax) refuse("TooManyEntries", `The arrays have more than ${elementsMax} elements`)
    return length
  }

  /** Returns a string that is a value of its own. */
  text(): string {
    const from = this.at
    const value = this.string(stringBytesMax, "a string")
    this.textBytes += this.at - from
    if (this.textBytes > textBytesMax) refuse("TooLarge", `The strings have more than ${textBytesMax} bytes`)
    return value
  }

  /**
   * Moves over `count` strings. Vocabularies make this the loop that all wait for: it looks at bytes, as numbers read
   * through the view are six times slower here, and leaves what is not a short string within the bytes to
   * `skipString`.
   */
  skipStrings(count: number, what: string): void {
    const { bytes } = this
    let at = this.at
    for (let index = 0; index < count; index++) {
      const next = at + 8 + lengthAt(bytes, at)
      if (next > bytes.length || !isShort(bytes, at)) {
        this.at = at
        this.skipString(elementBytesMax, what)
      }
      at = next
    }
    this.at = at
  }

  /** Returns a string that names something: not empty, UTF-8, without zero bytes. */
  name(most: number, reason: GgufReason, what: string): string {
    const length = this.skipString(most, what)
    const raw = this.bytes.subarray(this.at - length, this.at)
    if (length === 0 || raw.includes(0)) refuse(reason, `${what} is empty or holds a zero byte`)
    const decoded = Either.try(() => exact.decode(raw))
    return Either.isRight(decoded) ? decoded.right : refuse(reason, `${what} is not UTF-8`)
  }
}

/** The lower two bytes of the length that stands at `at`: all of it where `isShort`. */
const lengthAt = (bytes: Uint8Array, at: number): number => (bytes[at] ?? 0) + (bytes[at + 1] ?? 0) * 256

const isShort = (bytes: Uint8Array, at: number): boolean => {
  for (let above = at + 2; above < at + 8; above++) if (bytes[above] !== 0) return false
  return true
}

const narrow = (value: bigint): number | bigint =>
  value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value

/** Bytes of one element, where all have as many. */
const elementBytes: Readonly<Record<Exclude<GgufValueType, "string" | "array">, number>> = {
  uint8: 1,
  int8: 1,
  uint16: 2,
  int16: 2,
  uint32: 4,
  int32: 4,
  float32: 4,
  bool: 1,
  uint64: 8,
  int64: 8,
  float64: 8
}

const readTables = (cursor: Cursor): RawHeader => {
  if (cursor.u32() !== magic) return refuse("NotGguf", "The file does not begin with GGUF")
  const version = cursor.u32()
  if (version !== 2 && version !== 3)
    return refuse("UnsupportedVersion", `The file's version is ${version}, not 2 or 3`)
  const tensorCount = cursor.count(tensorsMax, "TooManyEntries", "tensors")
  const keyCount = cursor.count(keysMax, "TooManyEntries", "keys")
  const entries = new Map<string, GgufEntry>()
  for (let index = 0; index < keyCount; index++) {
    const entry = readEntry(cursor)
    if (entries.has(entry.key)) return refuse("BadMetadata", `The key ${shown(entry.key)} is there twice`)
    entries.set(entry.key, entry)
  }
  const tensors: Array<RawTensor> = []
  for (let index = 0; index < tensorCount; index++) tensors.push(readTensor(cursor))
  return { version, entries, tensors, endOffset: cursor.at }
}

/** `GGUF`, read as a little-endian number. */
const magic = 0x46554747

const readEntry = (cursor: Cursor): GgufEntry => {
  const offset = cursor.at
  const key = cursor.name(keyBytesMax, "BadMetadata", "a key")
  const type = readType(cursor, key)
  if (type === "array") {
    const value = readArray(cursor, key)
    return { key, type, value, offset, sizeBytes: cursor.at - offset }
  }
  const value = readScalar(cursor, type)
  return { key, type, value, offset, sizeBytes: cursor.at - offset }
}

const readType = (cursor: Cursor, key: string): GgufValueType => {
  const number = cursor.u32()
  return valueTypes[number] ?? refuse("BadMetadata", `The key ${shown(key)} has a value of type ${number}`)
}

const readScalar = (cursor: Cursor, type: Exclude<GgufValueType, "array">): GgufScalar => {
  switch (type) {
    case "uint8":
      return cursor.u8()
    case "int8":
      return cursor.i8()
    case "uint16":
      return cursor.u16()
    case "int16":
      return cursor.i16()
    case "uint32":
      return cursor.u32()
    case "int32":
      return cursor.i32()
    case "float32":
      return cursor.f32()
    case "bool":
      return cursor.bool()
    case "string":
      return cursor.text()
    case "uint64":
      return cursor.u64()
    case "int64":
      return cursor.i64()
    case "float64":
      return cursor.f64()
  }
}

const readArray = (cursor: Cursor, key: string): GgufArray => {
  const elementType = readType(cursor, key)
  if (elementType === "array") return refuse("BadMetadata", `The key ${shown(key)} holds an array of arrays`)
  const length = cursor.arrayLength(shown(key))
  const offset = cursor.at
  if (elementType === "string") {
    cursor.skipStrings(length, `an element of ${shown(key)}`)
    return { elementType, length, values: undefined, offset, sizeBytes: cursor.at - offset }
  }
  const sizeBytes = length * elementBytes[elementType]
  cursor.skip(sizeBytes)
  if (length > arrayValuesMax) return { elementType, length, values: undefined, offset, sizeBytes }
  cursor.at = offset
  const values = Array.from({ length }, () => readScalar(cursor, elementType))
  return { elementType, length, values, offset, sizeBytes }
}

const readTensor = (cursor: Cursor): RawTensor => {
  const name = cursor.name(nameBytesMax, "BadTensor", "a tensor's name")
  const dimensions = cursor.u32()
  if (dimensions < 1 || dimensions > dimensionsMax)
    return refuse("BadTensor", `The tensor ${shown(name)} has ${dimensions} dimensions, not 1 to ${dimensionsMax}`)
  const what = `elements in a dimension of ${shown(name)}`
  const dims = Array.from({ length: dimensions }, () => cursor.count(Number.MAX_SAFE_INTEGER, "BadTensor", what))
  const typeNumber = cursor.u32()
  const offset = cursor.count(Number.MAX_SAFE_INTEGER, "BadLayout", `bytes before ${shown(name)}`)
  return { name, dims, typeNumber, offset }
}
