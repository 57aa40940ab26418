/** The bytes of a GGUF file's header, version 3, little-endian: metadata values, entries and the tensor table. Pure. */

/** Represents a metadata value: the number of its type, then its bytes. */
export type Value = Uint8Array

/** Represents one entry of the metadata. */
export type Entry = readonly [key: string, value: Value]

/** Represents one row of the tensor table. */
export interface TableRow {
  readonly name: string
  readonly dims: ReadonlyArray<number>
  readonly typeNumber: number
  readonly sizeBytes: number
}

/** Alignment of the data where a file states none. */
const alignment = 32
const version = 3

/** Numbers of value types in the format. */
const valueType = { uint32: 4, int32: 5, float32: 6, string: 8, array: 9 } as const

/** Makes a value of an unsigned number. */
export const uint32 = (value: number): Value => concat([u32(valueType.uint32), u32(value)])

/** Makes a value of a number with single precision. */
export const float32 = (value: number): Value =>
  concat([u32(valueType.float32), new Uint8Array(Float32Array.of(value).buffer)])

/** Makes a value of a text. */
export const text = (value: string): Value => concat([u32(valueType.string), prefixed(value)])

/** Makes a list of texts: those whose encoded elements are given, then `more`. */
export const texts = (encoded: Uint8Array, count: number, more: ReadonlyArray<string>): Value =>
  array(valueType.string, count + more.length, [encoded, ...more.map(prefixed)])

/** Makes a list of numbers: those whose encoded elements are given, then `more`. */
export const int32s = (encoded: Uint8Array, count: number, more: ReadonlyArray<number>): Value =>
  array(valueType.int32, count + more.length, [encoded, new Uint8Array(Int32Array.from(more).buffer)])

/** Returns everything before the data of the tensors, which then follow in the order of `rows`, each padded. */
export const header = (entries: ReadonlyArray<Entry>, rows: ReadonlyArray<TableRow>): Uint8Array => {
  let offset = 0
  const table = rows.map(({ dims, name, sizeBytes, typeNumber }) => {
    const row = concat([prefixed(name), u32(dims.length), ...dims.map(u64), u32(typeNumber), u64(offset)])
    offset += sizeBytes + padding(sizeBytes).length
    return row
  })
  const bytes = concat([
    new TextEncoder().encode("GGUF"),
    u32(version),
    u64(rows.length),
    u64(entries.length),
    ...entries.flatMap(([key, value]) => [prefixed(key), value]),
    ...table
  ])
  return concat([bytes, padding(bytes.length)])
}

/** Returns the zeros that follow `length` bytes up to the alignment. */
export const padding = (length: number): Uint8Array => new Uint8Array((alignment - (length % alignment)) % alignment)

// internal

const concat = (parts: ReadonlyArray<Uint8Array>): Uint8Array => new Uint8Array(Buffer.concat(parts))
const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer)
const u64 = (value: number): Uint8Array => new Uint8Array(BigUint64Array.of(BigInt(value)).buffer)
const prefixed = (value: string): Uint8Array => {
  const bytes = new TextEncoder().encode(value)
  return concat([u64(bytes.length), bytes])
}
const array = (elementType: number, count: number, parts: ReadonlyArray<Uint8Array>): Value =>
  concat([u32(valueType.array), u32(elementType), u64(count), ...parts])
