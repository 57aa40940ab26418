/**
 * What stages say to each other, one frame a message: a fixed little-endian header of 32 bytes, then a payload whose
 * length the header says. Pure. `open`, `window` and `close` go on to the next stage, `tokens` and `failed` to the
 * host.
 */
import * as Msgpack from "@weft/mesh/Msgpack"
import * as PlainDecode from "@weft/mesh/PlainDecode"
import { Data, Either, Option, ParseResult, Schema } from "effect"
import { Sampling } from "../Generation.ts"
import * as Activations from "./Activations.ts"

/** The version of the layout; a frame of another is refused. */
export const version = 1
/** Most rows of a window: eight times the canonical chunk, so that this may grow without a new version. */
export const rowsMax = 512
/** Most values of a hidden state: twice the widest model known. */
export const widthMax = 32_768
/** Most characters of the reason of a `failed`. */
export const reasonCharactersMax = 1024
/** Bytes of a header; see `encode` for the places of its fields. */
export const headerBytes = 32
/** Most bytes of a payload in MessagePack: 1024 logit biases take 17 KiB. */
export const textBytesMax = 64 * 1024

/** Represents how the tail draws the tokens of a job, and how long it may become. */
export const JobTerms = Schema.Struct({
  /** 32 bits; decides all draws together with the place in the answer. */
  seed: Schema.Int.pipe(Schema.between(0, 0xffff_ffff)),
  /** Its own seed stays at home. */
  sampling: Sampling.omit("seed"),
  /** Tokens of the prompt; what follows them is the answer. */
  promptTokens: Schema.Int.pipe(Schema.between(1, 0xffff_ffff)),
  /** Most tokens of prompt and answer; no more than a slot of any stage has. */
  contextTokens: Schema.Int.pipe(Schema.between(2, 0xffff_ffff))
})
export type JobTerms = typeof JobTerms.Type

/** Represents what all frames name. */
export interface JobName {
  /** Number of the pipeline; raised when it is made again. */
  readonly epoch: number
  readonly job: number
}

/** Represents the beginning of a job: its slot is taken. */
export interface Open extends JobName {
  readonly kind: "open"
  readonly terms: JobTerms
}

/** Represents where a window stands. */
export interface WindowPlace extends JobName {
  /** Of the job: raised when the host rejects drafts. */
  readonly round: number
  /** Number within the round. */
  readonly window: number
  /** Position of the first row. */
  readonly position: number
}

/** Represents rows to be computed; they replace whatever the sequence had from `position` on. */
export interface Window extends WindowPlace {
  readonly kind: "window"
  /** How many of the last rows a token is drawn from. */
  readonly drawn: number
  /** A token for each row, 1 to `rowsMax`. */
  readonly tokens: Int32Array
  /** Their hidden states `[rows, width]`, row-major; none on the way into the first stage. */
  readonly hidden: Float32Array | undefined
}

/** Represents what the tail drew for the window of the same place, from its first drawn row on; it says so of each. */
export interface Tokens extends WindowPlace {
  readonly kind: "tokens"
  /** `drawn` of the window. */
  readonly drawn: number
  /** 1 to `drawn`, none where that is 0; all but the last are the window's own drafts. */
  readonly tokens: Int32Array
}

/** Represents the end of a job: its slot is free. */
export interface Close extends JobName {
  readonly kind: "close"
}

/** Represents that a stage cannot go on with a job; its slot is taken until the host closes it. */
export interface Failed extends JobName {
  readonly kind: "failed"
  readonly reason: string
}

/** Represents any frame. */
export type StageFrame = Open | Window | Tokens | Close | Failed

/** Represents bytes that are no frame; `field` is what is wrong with them. */
export class StageFrameError extends Data.TaggedError("StageFrameError")<{
  readonly field: string
  readonly detail: string
}> {
  override get message(): string {
    return `not a stage frame (${this.field}): ${this.detail}`
  }
}

/** Represents what a header says without its payload being looked at. */
export interface Peeked extends JobName {
  readonly kind: StageFrame["kind"]
  /** Of a window, or tokens that were drawn for one; others have none. */
  readonly rows: number
  /** The frame goes back to the host and not on to the next stage. */
  readonly isForHost: boolean
}

/**
 * Returns the bytes of a frame, which keeps the bounds above; they are the caller's. Hidden states are stored as
 * `activations`, those of a window that this does not hold as `f32`.
 */
export const encode = (frame: StageFrame, activations: Activations.ActivationType = "f32"): Uint8Array => {
  switch (frame.kind) {
    case "open":
      return withText(frame, Msgpack.encode(plain(frame.terms)))
    case "failed":
      return withText(frame, Msgpack.encode({ reason: frame.reason.slice(0, reasonCharactersMax) }))
    case "close":
      return withText(frame, new Uint8Array(0))
    case "tokens":
      return withRows(frame, 0, undefined)
    case "window": {
      const width = (frame.hidden?.length ?? 0) / frame.tokens.length
      return withRows(frame, width, frame.hidden && Activations.store(frame.hidden, width, activations))
    }
  }
}

/** Returns what `bytes` are about, for who passes them on. */
export const peek = (bytes: Uint8Array): Either.Either<Peeked, StageFrameError> => {
  if (bytes.length < headerBytes) return wrong("header", `${bytes.length} bytes, not ${headerBytes}`)
  const view = viewOf(bytes)
  const kind = kinds[view.getUint8(at.kind)]
  if (kind === undefined) return wrong("kind", `${view.getUint8(at.kind)} is none`)
  if (view.getUint8(at.version) !== version) return wrong("version", `${view.getUint8(at.version)}, not ${version}`)
  const isForHost = kind === "tokens" || kind === "failed"
  return Either.right({
    kind,
    rows: view.getUint16(at.rows, true),
    isForHost,
    epoch: view.getUint32(at.epoch, true),
    job: view.getUint32(at.job, true)
  })
}

/** Returns the frame that `bytes` are from end to end; it may share their memory. */
export const decode = (bytes: Uint8Array): Either.Either<StageFrame, StageFrameError> =>
  Either.flatMap(peek(bytes), ({ epoch, job, kind }) => {
    const view = viewOf(bytes)
    if (view.getUint8(at.reserved) !== 0) return wrong("reserved", "not 0")
    if (kind === "window" || kind === "tokens") return rowsOf({ epoch, job }, kind, bytes, view)
    for (let offset = at.round; offset < headerBytes; offset++)
      if (bytes[offset] !== 0) return wrong("header", `a ${kind} has a field at ${offset}`)
    if (bytes[at.element] !== 0) return wrong("element", `a ${kind} has elements`)
    return textOf({ epoch, job }, kind, bytes.subarray(headerBytes))
  })

// internal

/** Places of the header's fields in bytes: the first four of 8 bits, `rows` and `drawn` of 16, the others of 32. */
const at = {
  kind: 0,
  version: 1,
  element: 2,
  reserved: 3,
  epoch: 4,
  job: 8,
  round: 12,
  window: 16,
  position: 20,
  rows: 24,
  drawn: 26,
  width: 28
} as const

/** The index of each is its number; 0 is none, as memory that nobody wrote is mostly that. */
const kinds: ReadonlyArray<StageFrame["kind"] | undefined> = [undefined, "open", "window", "tokens", "close", "failed"]
const elements: ReadonlyArray<Activations.ActivationType | undefined> = [undefined, "f32", "f16", "q8"]
const tokenBytes = 4

type Decoded = Either.Either<StageFrame, StageFrameError>

const wrong = (field: string, detail: string) => Either.left(new StageFrameError({ field, detail }))

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const header = (bytes: Uint8Array, { epoch, job, kind }: StageFrame): DataView => {
  const view = viewOf(bytes)
  view.setUint8(at.kind, kinds.indexOf(kind))
  view.setUint8(at.version, version)
  view.setUint32(at.epoch, epoch, true)
  view.setUint32(at.job, job, true)
  return view
}

/** A request's sampling is taken as it comes, and may hold a seed of its own, or the place of one. */
const plain = (terms: JobTerms) => Schema.encodeSync(JobTerms)(terms)

const withText = (frame: Open | Close | Failed, text: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(headerBytes + text.length)
  header(bytes, frame)
  bytes.set(text, headerBytes)
  return bytes
}

const withRows = (frame: Window | Tokens, width: number, hidden: Activations.Stored | undefined): Uint8Array => {
  const rows = frame.tokens.length
  const bytes = new Uint8Array(headerBytes + rows * tokenBytes + (hidden?.bytes.length ?? 0))
  const view = header(bytes, frame)
  view.setUint8(at.element, elements.indexOf(hidden?.type))
  view.setUint32(at.round, frame.round, true)
  view.setUint32(at.window, frame.window, true)
  view.setUint32(at.position, frame.position, true)
  view.setUint16(at.rows, rows, true)
  view.setUint16(at.drawn, frame.drawn, true)
  view.setUint32(at.width, width, true)
  // All computers that Weft runs on are little-endian, as are the weights.
  bytes.set(Activations.bytesOf(frame.tokens), headerBytes)
  if (hidden !== undefined) bytes.set(hidden.bytes, headerBytes + rows * tokenBytes)
  return bytes
}

/** Returns the counts of a header whose payload is exactly `payload` bytes long. */
const countsOf = (kind: "window" | "tokens", view: DataView, payload: number) => {
  const rows = view.getUint16(at.rows, true)
  const drawn = view.getUint16(at.drawn, true)
  const width = view.getUint32(at.width, true)
  const number = view.getUint8(at.element)
  const element = elements[number]
  if (number >= elements.length) return wrong("element", `${number} is none`)
  const rowsMin = kind === "tokens" && drawn === 0 ? 0 : 1
  if (rows < rowsMin || rows > rowsMax) return wrong("rows", `${rows}, not ${rowsMin} to ${rowsMax}`)
  if (kind === "window" && drawn > rows) return wrong("drawn", `${drawn} of ${rows} rows`)
  if (kind === "tokens" && (drawn < rows || drawn > rowsMax)) return wrong("drawn", `${drawn} for ${rows} tokens`)
  if (kind === "tokens" && element !== undefined) return wrong("element", "tokens have elements")
  if (width > widthMax || width > 0 !== (element !== undefined))
    return wrong("width", `${width} with elements of type ${number}`)
  const fault = element && Activations.faultOf(element, width)
  if (fault !== undefined) return wrong("width", fault)
  const wanted = rows * (tokenBytes + (element === undefined ? 0 : Activations.rowBytes(element, width)))
  if (payload !== wanted) return wrong("payload", `${payload} bytes, not ${wanted}`)
  return Either.right({ rows, drawn, element })
}

const rowsOf = (name: JobName, kind: "window" | "tokens", bytes: Uint8Array, view: DataView): Decoded =>
  Either.flatMap(countsOf(kind, view, bytes.length - headerBytes), ({ drawn, element, rows }): Decoded => {
    const end = headerBytes + rows * tokenBytes
    const tokens = new Int32Array(...Activations.aligned(bytes.subarray(headerBytes, end), tokenBytes))
    if (tokens.some((token) => token < 0)) return wrong("tokens", "one is over 31 bits")
    const place = {
      ...name,
      round: view.getUint32(at.round, true),
      window: view.getUint32(at.window, true),
      position: view.getUint32(at.position, true)
    }
    if (kind === "tokens") return Either.right({ kind, ...place, drawn, tokens })
    const hidden = element && Activations.load(bytes.subarray(end), element)
    return Either.right({ kind, ...place, drawn, tokens, hidden })
  })

const Reason = Schema.Struct({ reason: Schema.String.pipe(Schema.maxLength(reasonCharactersMax)) })
const decodeTerms = PlainDecode.decoder(JobTerms)
const decodeReason = PlainDecode.decoder(Reason)

const textOf = (name: JobName, kind: "open" | "close" | "failed", text: Uint8Array): Decoded => {
  if (kind === "close") return text.length === 0 ? Either.right({ kind, ...name }) : wrong("payload", "a close has one")
  if (text.length > textBytesMax) return wrong("payload", `${text.length} bytes, at most ${textBytesMax}`)
  const value = Msgpack.decode(text)
  if (Option.isNone(value)) return wrong("payload", "not MessagePack")
  return kind === "open"
    ? Either.mapBoth(decodeTerms(value.value), { onLeft: mismatch, onRight: (terms) => ({ kind, ...name, terms }) })
    : Either.mapBoth(decodeReason(value.value), { onLeft: mismatch, onRight: (said) => ({ kind, ...name, ...said }) })
}

const mismatch = (issue: ParseResult.ParseIssue): StageFrameError => {
  const [first] = ParseResult.ArrayFormatter.formatIssueSync(issue)
  return new StageFrameError({
    field: first?.path.join(".") || "payload",
    detail: (first?.message ?? "").slice(0, 256)
  })
}
