/**
 * What the bytes of a stage file are: a header, then the data of its tensors, each piece given, or a range of the
 * model's file, or zeros. Pure: it needs the model's checked header and none of its data, so the size of a stage is
 * known before it is cut, and so are the ranges to fetch.
 */
import { Either } from "effect"
import type { GgufHeader } from "../GgufHeader.ts"
import * as GgufBytes from "./GgufBytes.ts"
import type { StageRange } from "./StageKeys.ts"
import { type MetadataEntry, metadataOf } from "./StageMetadata.ts"
import { StageRefused } from "./StageRefused.ts"
import { refusalOf, type StageRules, unsafeRulesOf } from "./StageRules.ts"
import { type StageTensor, tensorsOf } from "./StageTensors.ts"

/** Represents the next bytes of a stage file. */
export type StagePiece =
  | { readonly _tag: "Given"; readonly bytes: Uint8Array }
  /** As they stand in the model's file. */
  | { readonly _tag: "Source"; readonly offset: number; readonly sizeBytes: number }
  /** Nobody reads them; a hole in the file will do. */
  | { readonly _tag: "Zeros"; readonly sizeBytes: number }

/** Represents a tensor and where its data begin in the stage file. */
export interface PlacedTensor extends StageTensor {
  readonly offset: number
}

/** Represents a stage file that could be written. */
export interface StageLayout {
  readonly range: StageRange
  readonly rules: StageRules
  /** Bytes of the model's file from its beginning on that the pieces lie within. */
  readonly sourceBytes: number
  readonly sizeBytes: number
  /** Where the data of the tensors begin. */
  readonly dataOffset: number
  readonly tensors: ReadonlyArray<PlacedTensor>
  /** All bytes in order, none of them empty. */
  readonly pieces: ReadonlyArray<StagePiece>
}

/** Represents what is known of the model beyond its header. */
export interface LayoutOptions {
  /** Lower-case hexadecimal SHA-256 of its file, which the stage file then names. */
  readonly source?: string
}

/** Returns the stage file of those layers of the model, or why there can be none. */
export const make = (
  header: GgufHeader,
  range: StageRange,
  options: LayoutOptions = {}
): Either.Either<StageLayout, StageRefused> =>
  Either.try({
    try: () => unsafeMake(header, range, options),
    catch: (error) => {
      if (error instanceof StageRefused) return error
      throw error
    }
  })

/** Returns the bytes of a piece. */
export const pieceBytes = (piece: StagePiece): number => (piece._tag === "Given" ? piece.bytes.length : piece.sizeBytes)

// internal

const unsafeMake = (header: GgufHeader, range: StageRange, options: LayoutOptions): StageLayout => {
  const rules = unsafeRulesOf(header)
  const refusal = refusalOf(rules, range)
  if (refusal !== undefined) throw refusal
  const entries = metadataOf(header, rules, range, options.source)
  const unplaced = tensorsOf(header, rules, range)
  const alignment = header.alignmentBytes
  const head = headPieces(entries, unplaced, alignment)
  const dataOffset = aligned(bytesOf(head), alignment)
  let end = dataOffset
  const tensors = unplaced.map((tensor): PlacedTensor => {
    const offset = end
    end = aligned(offset + tensor.sizeBytes, alignment)
    return { ...tensor, offset }
  })
  const data = tensors.flatMap((tensor): ReadonlyArray<StagePiece> => {
    const { offset, sizeBytes, source } = tensor
    return [
      source === undefined ? { _tag: "Zeros", sizeBytes } : { _tag: "Source", offset: source.offset, sizeBytes },
      { _tag: "Zeros", sizeBytes: aligned(offset + sizeBytes, alignment) - offset - sizeBytes }
    ]
  })
  const gap: StagePiece = { _tag: "Zeros", sizeBytes: dataOffset - bytesOf(head) }
  const pieces = joined([...head, gap, ...data])
  const sourceBytes = pieces.reduce(
    (most, piece) => (piece._tag === "Source" ? Math.max(most, piece.offset + piece.sizeBytes) : most),
    0
  )
  return { range, rules, sourceBytes, sizeBytes: end, dataOffset, tensors, pieces }
}

const headPieces = (
  entries: ReadonlyArray<MetadataEntry>,
  tensors: ReadonlyArray<StageTensor>,
  alignment: number
): ReadonlyArray<StagePiece> => {
  let offset = 0
  const rows = tensors.map(({ dims, name, sizeBytes, type }) => {
    const row = GgufBytes.tensorRow(name, dims, type.number, offset)
    offset += aligned(sizeBytes, alignment)
    return row
  })
  const beginning = GgufBytes.preamble(tensors.length, entries.length)
  return [{ _tag: "Given", bytes: beginning }, ...entries.flat(), { _tag: "Given", bytes: GgufBytes.concat(rows) }]
}

const aligned = (offset: number, alignment: number): number => Math.ceil(offset / alignment) * alignment

const bytesOf = (pieces: ReadonlyArray<StagePiece>): number => pieces.reduce((sum, piece) => sum + pieceBytes(piece), 0)

/** Returns the same bytes in as few pieces as can be. */
const joined = (pieces: ReadonlyArray<StagePiece>): ReadonlyArray<StagePiece> => {
  const result: Array<StagePiece> = []
  for (const piece of pieces) {
    if (pieceBytes(piece) === 0) continue
    const whole = joinedPair(result.at(-1), piece)
    if (whole === undefined) result.push(piece)
    else result[result.length - 1] = whole
  }
  return result
}

const joinedPair = (left: StagePiece | undefined, right: StagePiece): StagePiece | undefined => {
  if (left?._tag === "Given" && right._tag === "Given")
    return { _tag: "Given", bytes: GgufBytes.concat([left.bytes, right.bytes]) }
  if (left?._tag === "Zeros" && right._tag === "Zeros")
    return { _tag: "Zeros", sizeBytes: left.sizeBytes + right.sizeBytes }
  if (left?._tag === "Source" && right._tag === "Source" && left.offset + left.sizeBytes === right.offset)
    return { _tag: "Source", offset: left.offset, sizeBytes: left.sizeBytes + right.sizeBytes }
  return undefined
}
