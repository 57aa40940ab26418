/**
 * Messages on a byte stream: `u32` big-endian length, then one value in MessagePack, checked against a Schema on the
 * way in. What the other side sends is bounded before it is kept, and a frame that began must end in time.
 */
import { Data, Effect, Option, ParseResult, Schema } from "effect"
import type { StreamError } from "./MeshError.ts"
import * as Msgpack from "./Msgpack.ts"
import type { MeshStream } from "./Transport.ts"

/** Largest frame where the reader names no other bound: the largest control message. */
export const frameBytesMax = 256 * 1024
const headerBytes = 4

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
export const frame = (value: unknown): Uint8Array => encodePayload(Msgpack.encode(value))

/** Returns the frame around one encoded value. */
export const encodePayload = (payload: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(headerBytes + payload.length)
  new DataView(bytes.buffer).setUint32(0, payload.length)
  bytes.set(payload, headerBytes)
  return bytes
}

/** Returns the parts as one array; a single part as it is. */
export const concat = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  if (parts.length === 1 && parts[0] !== undefined) return parts[0]
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** Collects bytes and takes frames off their front; every byte is copied at most once. */
export class FrameBuffer {
  #parts: Array<Uint8Array> = []
  #bytes = 0

  /** Bytes held, of whole and partial frames. */
  get sizeBytes(): number {
    return this.#bytes
  }

  /** Adds bytes at the end; they must not change afterwards. */
  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.#parts.push(bytes)
    this.#bytes += bytes.length
  }

  /** Payload length of the frame at the front; undefined while its header is not whole. */
  get nextBytes(): number | undefined {
    if (this.#bytes < headerBytes) return undefined
    let length = 0
    for (let i = 0, part = 0, at = 0; i < headerBytes; i++, at++) {
      while (at === (this.#parts[part]?.length ?? 0)) {
        part++
        at = 0
      }
      length = length * 256 + (this.#parts[part]?.[at] ?? 0)
    }
    return length
  }

  /** Takes the payload of the frame at the front; undefined while it is not whole. */
  take(): Uint8Array | undefined {
    const length = this.nextBytes
    if (length === undefined || this.#bytes < headerBytes + length) return undefined
    this.#cut(headerBytes)
    return this.#cut(length)
  }

  /** Takes exactly `count` bytes, which are there; a view where one part holds them all. */
  #cut(count: number): Uint8Array {
    this.#bytes -= count
    const first = this.#parts[0]
    if (first !== undefined && first.length > count) {
      this.#parts[0] = first.subarray(count)
      return first.subarray(0, count)
    }
    const taken: Array<Uint8Array> = []
    let missing = count
    while (missing > 0) {
      const part = this.#parts[0]
      if (part === undefined) break
      taken.push(part.length <= missing ? part : part.subarray(0, missing))
      if (part.length <= missing) this.#parts.shift()
      else this.#parts[0] = part.subarray(missing)
      missing -= Math.min(part.length, missing)
    }
    return concat(taken)
  }
}

/** Decodes one payload against `schema`; the error names the field at fault. */
export const decode = <A, I>(schema: Schema.Schema<A, I>): ((payload: Uint8Array) => Effect.Effect<A, FrameError>) => {
  const decodeValue = ParseResult.decodeUnknownEither(schema)
  return (payload) =>
    Option.match(Msgpack.decode(payload), {
      onNone: notMsgpack,
      onSome: (value) => {
        const decoded = decodeValue(value)
        return decoded._tag === "Right"
          ? Effect.succeed(decoded.right)
          : new FrameError({ reason: "Mismatch", detail: describe(decoded.left) })
      }
    })
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
        return yield* new FrameError({ reason: "TooLarge", detail: `${length} bytes, at most ${sizeBytesMax} allowed` })
      }
      const whole = buffer.take()
      if (whole !== undefined) return Option.some(whole)
      const bytes = yield* buffer.sizeBytes === 0 ? stream.read : inTime(stream, length ?? headerBytes)
      if (Option.isNone(bytes)) {
        if (buffer.sizeBytes === 0) return Option.none()
        return yield* new FrameError({ reason: "Truncated", detail: "the stream ended inside a frame" })
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

const notMsgpack = () => new FrameError({ reason: "NotMsgpack", detail: "bytes that are no plain value" })

const inTime = (stream: MeshStream, lengthBytes: number) =>
  Effect.timeoutFail(stream.read, {
    duration: partialMs(lengthBytes),
    onTimeout: () =>
      new FrameError({ reason: "Slow", detail: `a frame of ${lengthBytes} bytes did not arrive in time` })
  })

/** First problem of a parse error, with the path to its field. */
const describe = (issue: ParseResult.ParseIssue): string => {
  const [first] = ParseResult.ArrayFormatter.formatIssueSync(issue)
  return first === undefined
    ? "it has another shape"
    : `${first.path.join(".") || "value"}: ${first.message}`.slice(0, 256)
}
