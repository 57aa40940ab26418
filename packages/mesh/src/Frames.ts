/**
 * Messages on a byte stream: a u32 length (big-endian), then that many bytes, which are MessagePack or, on data streams,
 * raw. Used on mesh streams and, through `encode` and `Decoder`, on any other byte stream such as the pipe of an engine
 * host. What comes in is hostile: sizes and shapes are checked on the raw bytes before anything is built from them.
 */
import { Data, Duration, Effect, Either, Option, ParseResult, Schema } from "effect"
import { Packr, Unpackr } from "msgpackr"
import { describeInvalid } from "./internal/messagePackCheck.ts"
import type { StreamError } from "./MeshError.ts"
import type { MeshStream } from "./Transport.ts"

/** Largest frame by default, in bytes without the length: the bound of control messages in the protocol. */
export const frameBytesMaxDefault = 256 * 1024

/** Longest wait for the rest of a frame whose first byte has come: 256 KiB take this long at 70 kbit/s. */
export const partialFrameTimeoutDefault = Duration.seconds(30)

/** Represents a frame that cannot be sent or must not be read; `what` names what is wrong with it. */
export class FrameError extends Data.TaggedError("FrameError")<{
  readonly reason: "TooLong" | "Malformed" | "Unexpected" | "Truncated" | "Timeout"
  readonly what: string
}> {
  override get message(): string {
    return `bad frame (${this.reason}): ${this.what}`
  }
}

/** Represents the bounds of a reader or writer. */
export interface FrameOptions {
  /** Longest frame in bytes, without its length. */
  readonly frameBytesMax?: number
  /** Longest wait for the rest of a frame that has begun. */
  readonly partialFrameTimeout?: Duration.DurationInput
}

const headerBytes = 4

// Numbers stay numbers and bigints (−2⁶³…2⁶³−1) stay bigints, so a value comes back as the type it was sent as.
const settings = { useRecords: false, mapsAsObjects: true, copyBuffers: true, encodeUndefinedAsNil: true } as const
const packr = new Packr(settings)
const unpackr = new Unpackr(settings)

/** Encodes a value as one frame, length included. */
export const encode = (value: unknown, frameBytesMax = frameBytesMaxDefault): Either.Either<Uint8Array, FrameError> =>
  Either.flatMap(
    Either.try({
      try: () => packr.pack(value),
      catch: (cause) => new FrameError({ reason: "Malformed", what: `it cannot be encoded: ${cause}` })
    }),
    (payload) => frameOf(payload, frameBytesMax)
  )

/** Decodes the payload of one frame; never throws, whatever the bytes are. */
export const decode = (payload: Uint8Array): Either.Either<unknown, FrameError> => {
  const wrong = describeInvalid(payload)
  if (wrong !== undefined) return Either.left(new FrameError({ reason: "Malformed", what: wrong }))
  return Either.try({
    // A shape that was checked may still hold what msgpackr refuses, e.g. an unused type of its own.
    try: (): unknown => unpackr.unpack(payload),
    catch: (cause) => new FrameError({ reason: "Malformed", what: String(cause) })
  })
}

/** Cuts a byte stream, in any pieces, into the payloads of its frames; holds at most one partial frame. */
export class Decoder {
  #header = 0
  #headerBytes = 0
  #partial: Uint8Array | undefined
  #filled = 0
  readonly #frameBytesMax: number

  constructor(frameBytesMax = frameBytesMaxDefault) {
    this.#frameBytesMax = frameBytesMax
  }

  /** True between the first byte of a frame and its last. */
  get isPartial(): boolean {
    return this.#headerBytes > 0
  }

  /** Returns the payloads that are complete with these bytes; they may share the array. After a left, stop. */
  push(bytes: Uint8Array): Either.Either<ReadonlyArray<Uint8Array>, FrameError> {
    const payloads: Array<Uint8Array> = []
    let at = 0
    while (at < bytes.length || (this.#headerBytes === headerBytes && this.#header === 0)) {
      if (this.#headerBytes < headerBytes) {
        this.#header = ((this.#header << 8) | (bytes[at++] ?? 0)) >>> 0
        if (++this.#headerBytes === headerBytes && this.#header > this.#frameBytesMax) {
          return Either.left(tooLong(this.#header, this.#frameBytesMax))
        }
        continue
      }
      const missing = this.#header - this.#filled
      const piece = bytes.subarray(at, at + missing)
      at += piece.length
      if (this.#partial === undefined && piece.length === this.#header) payloads.push(this.#complete(piece))
      else {
        this.#partial ??= new Uint8Array(this.#header)
        this.#partial.set(piece, this.#filled)
        this.#filled += piece.length
        if (this.#filled === this.#header) payloads.push(this.#complete(this.#partial))
      }
    }
    return Either.right(payloads)
  }

  #complete(payload: Uint8Array): Uint8Array {
    this.#header = 0
    this.#headerBytes = 0
    this.#partial = undefined
    this.#filled = 0
    return payload
  }
}

/** Reads the frames of one stream; one read at a time. */
export interface FrameReader {
  /** Takes the payload of the next frame, `None` after a clean end between frames. */
  readonly next: Effect.Effect<Option.Option<Uint8Array>, FrameError | StreamError>
}

/** Makes the reader of a stream; all frames of a stream are read through the same one. */
export const makeReader = (stream: Pick<MeshStream, "read">, options: FrameOptions = {}): FrameReader => {
  const decoder = new Decoder(options.frameBytesMax)
  let ready: ReadonlyArray<Uint8Array> = []
  let taken = 0
  const duration = Duration.decode(options.partialFrameTimeout ?? partialFrameTimeoutDefault)
  const late = () =>
    new FrameError({ reason: "Timeout", what: `its rest did not come in ${Duration.format(duration)}` })

  const fill: Effect.Effect<Option.Option<Uint8Array>, FrameError | StreamError> = Effect.flatMap(
    stream.read,
    Option.match({
      onNone: () =>
        decoder.isPartial
          ? new FrameError({ reason: "Truncated", what: "the stream ended inside it" })
          : Effect.succeedNone,
      onSome: (bytes) =>
        Either.match(decoder.push(bytes), {
          onLeft: (error): Effect.Effect<Option.Option<Uint8Array>, FrameError | StreamError> => error,
          onRight: (payloads) => {
            ready = payloads
            taken = 0
            return take
          }
        })
    })
  )
  const take: Effect.Effect<Option.Option<Uint8Array>, FrameError | StreamError> = Effect.suspend(() => {
    const payload = ready[taken]
    if (payload === undefined) return fill
    taken += 1
    return Effect.succeed(Option.some(payload))
  })
  const next = Effect.suspend(() =>
    ready[taken] === undefined && decoder.isPartial ? Effect.timeoutFail(fill, { duration, onTimeout: late }) : take
  )
  return { next }
}

/** Returns a function that takes the next frame of a reader as a value of this schema, `None` after a clean end. */
export const readFrame = <A, I>(
  schema: Schema.Schema<A, I>
): ((reader: FrameReader) => Effect.Effect<Option.Option<A>, FrameError | StreamError>) => {
  const check = Schema.decodeUnknownEither(schema)
  const parse = (payload: Uint8Array): Either.Either<Option.Option<A>, FrameError> =>
    Either.map(
      Either.flatMap(decode(payload), (value) => Either.mapLeft(check(value), unexpected)),
      Option.some
    )
  return (reader) =>
    Effect.flatMap(
      reader.next,
      Option.match({
        onNone: () => Effect.succeedNone,
        onSome: (payload): Effect.Effect<Option.Option<A>, FrameError> => parse(payload)
      })
    )
}

/** Returns a function that sends a value of this schema as one frame. */
export const writeFrame = <A, I>(
  schema: Schema.Schema<A, I>,
  options: FrameOptions = {}
): ((stream: Pick<MeshStream, "write">, value: A) => Effect.Effect<void, FrameError | StreamError>) => {
  const toWire = Schema.encodeEither(schema)
  return (stream, value) =>
    Either.match(
      Either.flatMap(Either.mapLeft(toWire(value), unexpected), (wire) => encode(wire, options.frameBytesMax)),
      {
        onLeft: (error): Effect.Effect<void, FrameError | StreamError> => error,
        onRight: (frame) => stream.write(frame)
      }
    )
}

/** Sends raw bytes as one frame; read with `FrameReader.next`. */
export const writeBytes = (
  stream: Pick<MeshStream, "write">,
  payload: Uint8Array,
  options: FrameOptions = {}
): Effect.Effect<void, FrameError | StreamError> =>
  Either.match(frameOf(payload, options.frameBytesMax ?? frameBytesMaxDefault), {
    onLeft: (error): Effect.Effect<void, FrameError | StreamError> => error,
    onRight: (frame) => stream.write(frame)
  })

// internal

const frameOf = (payload: Uint8Array, frameBytesMax: number): Either.Either<Uint8Array, FrameError> => {
  if (payload.length > frameBytesMax) return Either.left(tooLong(payload.length, frameBytesMax))
  const frame = new Uint8Array(headerBytes + payload.length)
  new DataView(frame.buffer).setUint32(0, payload.length)
  frame.set(payload, headerBytes)
  return Either.right(frame)
}

const tooLong = (bytes: number, bytesMax: number): FrameError =>
  new FrameError({ reason: "TooLong", what: `${bytes} bytes where at most ${bytesMax} are allowed` })

/** A wrong value's own text could be long and is hostile: the path and the expectation suffice. */
const unexpected = (error: ParseResult.ParseError): FrameError => {
  const issue = ParseResult.ArrayFormatter.formatErrorSync(error)[0]
  const where = issue === undefined || issue.path.length === 0 ? "the value" : issue.path.map(String).join(".")
  return new FrameError({
    reason: "Unexpected",
    what: `${where}: ${issue?.message.slice(0, 200) ?? "not as expected"}`
  })
}
