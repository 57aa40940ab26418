/**
 * Messages on a byte stream: `u32` big-endian length, then one value in MessagePack, checked against a Schema on the
 * way in. What the other side sends is bounded before it is kept, and a frame that began must end in time.
 */
import { Data, Effect, Either, Option, ParseResult, Schema } from "effect"
import { FrameBuffer, headerBytes } from "./FrameBuffer.ts"
import type { StreamError } from "./MeshError.ts"
import * as Msgpack from "./Msgpack.ts"
import * as PlainDecode from "./PlainDecode.ts"
import type { MeshStream } from "./Transport.ts"

/** Largest frame where the reader names no other bound: the largest control message, an announcement. */
export const frameBytesMax = 256 * 1024

/** A frame that began must go on: time for a lost packet and its repeats, plus its length at 64 KiB/s (0.5 Mbit/s). */
const partialMs = (lengthBytes: number): number => 10_000 + (lengthBytes / (64 * 1024)) * 1_000

/** Represents bytes that are no frame of the expected kind. */
export class FrameError extends Data.TaggedError("FrameError")<{
  readonly reason: "TooLarge" | "Truncated" | "Slow" | "NotMsgpack" | "Mismatch"
  readonly detail: string
}> {
  override get message(): string {
    return `bad frame (${this.reason}): ${this.detail}`
  }
}

/** Returns an encoder of values of `schema` to whole frames. */
export const encode = <A, I>(schema: Schema.Schema<A, I>): ((value: A) => Uint8Array) => {
  const encodeValue = Schema.encodeSync(schema)
  return (value) => frame(encodeValue(value))
}

/** Returns one whole frame of a value that MessagePack can hold. */
export const frame = (value: unknown): Uint8Array => {
  const bytes = Msgpack.encodeBehind(headerBytes, value)
  writeLength(bytes, bytes.length - headerBytes)
  return bytes
}

/** Returns the frame around one encoded value. */
export const encodePayload = (payload: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(headerBytes + payload.length)
  writeLength(bytes, payload.length)
  bytes.set(payload, headerBytes)
  return bytes
}

/** Decodes one payload against `schema`; the error names the field at fault. */
export const decode = <A, I>(schema: Schema.Schema<A, I>): ((payload: Uint8Array) => Either.Either<A, FrameError>) => {
  const decodeValue = PlainDecode.decoder(schema)
  return (payload) => {
    const value = Msgpack.decode(payload)
    if (Option.isNone(value)) return Either.left(notMsgpack())
    const decoded = decodeValue(value.value)
    if (Either.isRight(decoded)) return Either.right(decoded.right)
    return Either.left(new FrameError({ reason: "Mismatch", detail: describe(decoded.left) }))
  }
}

/** Takes frames off one stream as its bytes come, for who listens to it; knows no stream and no clock of its own. */
export class FrameFeed {
  readonly #buffer = new FrameBuffer()
  readonly #sizeBytesMax: number
  /** When a tick first saw the frame that is not whole yet. */
  #partialSinceMs: number | undefined

  /** Makes a feed of payloads of at most `sizeBytesMax`. */
  constructor(sizeBytesMax: number) {
    this.#sizeBytesMax = sizeBytesMax
  }

  /** Adds bytes; they must not change afterwards. */
  push(bytes: Uint8Array): void {
    this.#buffer.push(bytes)
  }

  /** Takes the payload of the next frame; undefined while it is not whole. */
  next(): Uint8Array | FrameError | undefined {
    const length = this.#buffer.nextBytes
    if (length !== undefined && length > this.#sizeBytesMax) return tooLarge(length, this.#sizeBytesMax)
    const payload = this.#buffer.take()
    if (payload !== undefined) this.#partialSinceMs = undefined
    return payload
  }

  /** Takes what is left behind the frames that were taken. */
  rest(): Uint8Array {
    return this.#buffer.takeAll()
  }

  /** Returns what is wrong with a stream that ends now. */
  ended(): FrameError | undefined {
    return this.#buffer.sizeBytes === 0 ? undefined : truncated()
  }

  /** Returns what is wrong with a frame that is still not whole at `nowMs`; to be called at every tick. */
  tick(nowMs: number): FrameError | undefined {
    if (this.#buffer.sizeBytes === 0) return undefined
    this.#partialSinceMs ??= nowMs
    const length = this.#buffer.nextBytes ?? headerBytes
    return nowMs - this.#partialSinceMs > partialMs(length) ? slow(length) : undefined
  }
}

/** Reads frames off one stream, one reader at a time. */
export interface FrameReader {
  /** Takes the next frame, `None` after the stream's end between two frames. `sizeBytesMax` bounds its payload. */
  readonly read: <A, I>(
    schema: Schema.Schema<A, I>,
    sizeBytesMax?: number
  ) => Effect.Effect<Option.Option<A>, FrameError | StreamError>
  /** Takes the payload of the next frame: one MessagePack value within the bounds, not decoded. */
  readonly readPayload: Effect.Effect<Option.Option<Uint8Array>, FrameError | StreamError>
}

/** Returns the reader of a stream; `sizeBytesMax` holds for reads that name no bound. */
export const reader = (stream: MeshStream, options: { readonly sizeBytesMax?: number } = {}): FrameReader => {
  const buffer = new FrameBuffer()
  const payload = Effect.fnUntraced(function* (sizeBytesMax: number) {
    while (true) {
      const length = buffer.nextBytes
      if (length !== undefined && length > sizeBytesMax) {
        return yield* tooLarge(length, sizeBytesMax)
      }
      const whole = buffer.take()
      if (whole !== undefined) return Option.some(whole)
      const bytes = yield* buffer.sizeBytes === 0 ? stream.read : inTime(stream, length ?? headerBytes)
      if (Option.isNone(bytes)) {
        if (buffer.sizeBytes === 0) return Option.none()
        return yield* truncated()
      }
      buffer.push(bytes.value)
    }
  })
  const ownMax = options.sizeBytesMax ?? frameBytesMax
  return {
    read: (schema, sizeBytesMax = ownMax) =>
      Effect.flatMap(
        payload(sizeBytesMax),
        Option.match({
          onNone: () => Effect.succeedNone,
          onSome: (bytes) => Effect.asSome(decode(schema)(bytes))
        })
      ),
    readPayload: Effect.filterOrFail(payload(ownMax), Option.match({ onNone: () => true, onSome: Msgpack.scan }), () =>
      notMsgpack()
    )
  }
}

// internal

const writeLength = (bytes: Uint8Array, length: number): void => {
  for (let at = headerBytes - 1, rest = length; at >= 0; at--, rest >>>= 8) bytes[at] = rest
}

const notMsgpack = () => new FrameError({ reason: "NotMsgpack", detail: "bytes that are no plain value" })

const tooLarge = (lengthBytes: number, sizeBytesMax: number) =>
  new FrameError({ reason: "TooLarge", detail: `${lengthBytes} bytes, at most ${sizeBytesMax} allowed` })

const truncated = () => new FrameError({ reason: "Truncated", detail: "the stream ended inside a frame" })

const slow = (lengthBytes: number) =>
  new FrameError({ reason: "Slow", detail: `a frame of ${lengthBytes} bytes did not arrive in time` })

const inTime = (stream: MeshStream, lengthBytes: number) =>
  Effect.timeoutFail(stream.read, {
    duration: partialMs(lengthBytes),
    onTimeout: () => slow(lengthBytes)
  })

/** First problem of a parse error, with the path to its field. */
const describe = (issue: ParseResult.ParseIssue): string => {
  const [first] = ParseResult.ArrayFormatter.formatIssueSync(issue)
  return first === undefined
    ? "it has another shape"
    : `${first.path.join(".") || "value"}: ${first.message}`.slice(0, 256)
}
