/**
 * The gate every GGUF file passes before native code sees it: reads no more than the header, in bounded time and
 * memory, and refuses what is malformed, what does not fit the file, and what llama.cpp is known to die of.
 *
 * `@huggingface/gguf` gives the names of types; its parser is only a second opinion in the tests. It reads on into
 * zeros where a file ends (so it accepts truncated headers), reads 50 MB before it gives up, and takes
 * `general.alignment` as it is.
 */
import { Effect, Either } from "effect"
import type { GgufEntry, GgufHeader, GgufTensor } from "./GgufHeader.ts"
import { describe, type GgufKind } from "./GgufModel.ts"
import { type NeedsBytes, type RawHeader, type RawTensor, read } from "./GgufReader.ts"
import { GgufRejected, refuse, shown } from "./GgufRejected.ts"
import type { ByteSource } from "./GgufSource.ts"
import { tensorType, typeName } from "./GgufTypes.ts"

/** Most bytes of a header: twice the largest known, 262,144 tokens with scores and 0.5 million merges. */
export const headerBytesMax = 32 * 1024 * 1024
/** Bytes read at first; each further reading takes four times as many, so no more is held than that. */
const firstBytes = 1024 * 1024
const growth = 4
/** Alignment of the data where the file states none. */
const alignmentDefault = 32
/** Least alignment: ggml asserts that the data of a mapped file lie at multiples of 32. */
const alignmentMin = 32
/** Largest alignment: a page. */
const alignmentMax = 4096
/** Bytes that may follow the last tensor's padding: one page, as some writers pad the file too. */
export const trailingBytesMax = 4096

/**
 * Returns the header of the GGUF file in `source`, which fits the file and the architecture. Fails with
 * `GgufRejected`, within milliseconds, whatever the bytes are. The file must hold what `kind` says: a whole model, or
 * a stage of one.
 */
export const check = Effect.fn("GgufGate.check")(function* (source: ByteSource, kind: GgufKind = "model") {
  let length = Math.min(firstBytes, source.sizeBytes)
  while (true) {
    const bytes = yield* source.read(0, length)
    const outcome = inspect(bytes, bytes.length < length ? bytes.length : source.sizeBytes, kind)
    if (Either.isRight(outcome)) return outcome.right
    if (outcome.left instanceof GgufRejected) return yield* outcome.left
    if (outcome.left.bytes > headerBytesMax)
      return yield* new GgufRejected({ reason: "TooLarge", detail: `The header has more than ${headerBytesMax} bytes` })
    const wanted = Math.max(outcome.left.bytes, length * growth)
    length = Math.min(wanted, headerBytesMax, source.sizeBytes)
  }
})

/** Returns what `bytes`, the beginning of a file of `sizeBytes`, are the header of. */
const inspect = (
  bytes: Uint8Array,
  sizeBytes: number,
  kind: GgufKind
): Either.Either<GgufHeader, GgufRejected | NeedsBytes> =>
  Either.flatMap(read(bytes, sizeBytes), (raw) =>
    Either.try({
      try: () => {
        const alignmentBytes = alignmentOf(raw.entries)
        const dataOffset = aligned(raw.endOffset, alignmentBytes)
        const tensors = place(raw, { alignmentBytes, dataOffset, sizeBytes })
        const { entries, version } = raw
        return describe({ version, entries, alignmentBytes, dataOffset, tensors, bytes }, kind)
      },
      catch: (error) => {
        if (error instanceof GgufRejected) return error
        throw error
      }
    })
  )

const aligned = (offset: number, alignment: number): number => Math.ceil(offset / alignment) * alignment

const alignmentOf = (entries: ReadonlyMap<string, GgufEntry>): number => {
  const entry = entries.get("general.alignment")
  if (entry === undefined) return alignmentDefault
  if (entry.type !== "uint32" || typeof entry.value !== "number")
    return refuse("BadAlignment", "general.alignment is not a 32-bit number")
  const value = entry.value
  if (value < alignmentMin || value > alignmentMax || (value & (value - 1)) !== 0)
    return refuse("BadAlignment", `general.alignment is ${value}, not a power of two from 32 to 4096`)
  return value
}

interface Room {
  readonly alignmentBytes: number
  readonly dataOffset: number
  readonly sizeBytes: number
}

/** Returns the tensors with their places; each begins where the one before ends, and all end with the file. */
const place = (raw: RawHeader, room: Room): ReadonlyArray<GgufTensor> => {
  if (raw.tensors.length === 0) return refuse("NoTensors", "The file holds no tensors")
  const names = new Set<string>()
  const tensors: Array<GgufTensor> = []
  let expected = 0
  let endBytes = 0
  for (const one of raw.tensors) {
    if (names.has(one.name)) return refuse("BadTensor", `The tensor ${shown(one.name)} is there twice`)
    names.add(one.name)
    const tensor = measure(one, room)
    if (one.offset !== expected)
      return refuse(
        "BadLayout",
        `The tensor ${shown(one.name)} begins at ${one.offset}, the one before ends at ${expected}`
      )
    endBytes = tensor.offset + tensor.sizeBytes
    if (endBytes > room.sizeBytes)
      return refuse("Truncated", `The tensor ${shown(one.name)} ends at ${endBytes}, the file at ${room.sizeBytes}`)
    expected = aligned(expected + tensor.sizeBytes, room.alignmentBytes)
    tensors.push(tensor)
  }
  const most = room.dataOffset + expected + trailingBytesMax
  if (room.sizeBytes > most)
    return refuse("OverLong", `The file has ${room.sizeBytes} bytes, its tensors end at ${endBytes}`)
  return tensors
}

const measure = (raw: RawTensor, room: Room): GgufTensor => {
  const type = tensorType(raw.typeNumber)
  if (type === undefined)
    return refuse("UnsupportedType", `The tensor ${shown(raw.name)} is of type ${typeName(raw.typeNumber)}`)
  const [row = 0] = raw.dims
  const elements = raw.dims.reduce((product, dim) => product * dim, 1)
  if (elements < 1 || elements > Number.MAX_SAFE_INTEGER || row % type.blockElements !== 0)
    return refuse("BadTensor", `The tensor ${shown(raw.name)} cannot be [${raw.dims}] of ${type.name}`)
  if (raw.dims.length === 1 && type.name !== "F32")
    return refuse("UnsupportedType", `The vector ${shown(raw.name)} is of type ${type.name}, not F32`)
  const sizeBytes = (elements / type.blockElements) * type.blockBytes
  return { name: raw.name, dims: raw.dims, type, offset: room.dataOffset + raw.offset, sizeBytes }
}
