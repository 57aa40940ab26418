/** The bytes of a GGUF header's parts, little-endian: keys with their values, and rows of the tensor table. Pure. */
import { type GgufValueType, valueTypes } from "../GgufHeader.ts"

/** The version of the files written; its layout is that of version 2. */
const version = 3

/** Returns the beginning of a file with that many tensors and keys. */
export const preamble = (tensors: number, keys: number): Uint8Array =>
  concat([new TextEncoder().encode("GGUF"), u32(version), u64(tensors), u64(keys)])

/** Returns an entry whose value is an unsigned number of 32 bits. */
export const uint32Entry = (key: string, value: number): Uint8Array => entry(key, "uint32", u32(value))

/** Returns an entry whose value is a number of single precision. */
export const float32Entry = (key: string, value: number): Uint8Array =>
  entry(
    key,
    "float32",
    packed(4, (view) => view.setFloat32(0, value, true))
  )

/** Returns an entry whose value is a text. */
export const textEntry = (key: string, value: string): Uint8Array => entry(key, "string", prefixed(value))

/** Returns an entry whose value is an array of truth values. */
export const boolsEntry = (key: string, values: ReadonlyArray<boolean>): Uint8Array =>
  concat([arrayHead(key, "bool", values.length), Uint8Array.from(values, Number)])

/** Returns an entry whose value is an array of numbers of 32 bits with a sign. */
export const int32sEntry = (key: string, values: ReadonlyArray<number>): Uint8Array =>
  concat([
    arrayHead(key, "int32", values.length),
    ...values.map((value) => packed(4, (view) => view.setInt32(0, value, true)))
  ])

/** Returns the beginning of an entry whose value is an array; its `length` elements are to follow. */
export const arrayHead = (key: string, elementType: GgufValueType, length: number): Uint8Array =>
  entry(key, "array", concat([u32(valueTypes.indexOf(elementType)), u64(length)]))

/** Returns one row of the tensor table; `offset` counts from the beginning of the data. */
export const tensorRow = (name: string, dims: ReadonlyArray<number>, typeNumber: number, offset: number): Uint8Array =>
  concat([prefixed(name), u32(dims.length), ...dims.map(u64), u32(typeNumber), u64(offset)])

/** Returns `parts` as one array. */
export const concat = (parts: ReadonlyArray<Uint8Array>): Uint8Array => new Uint8Array(Buffer.concat(parts))

// internal

const packed = (sizeBytes: number, set: (view: DataView) => void): Uint8Array => {
  const view = new DataView(new ArrayBuffer(sizeBytes))
  set(view)
  return new Uint8Array(view.buffer)
}
const u32 = (value: number): Uint8Array => packed(4, (view) => view.setUint32(0, value, true))
const u64 = (value: number): Uint8Array => packed(8, (view) => view.setBigUint64(0, BigInt(value), true))
const prefixed = (value: string): Uint8Array => {
  const bytes = new TextEncoder().encode(value)
  return concat([u64(bytes.length), bytes])
}
const entry = (key: string, type: GgufValueType, value: Uint8Array): Uint8Array =>
  concat([prefixed(key), u32(valueTypes.indexOf(type)), value])
