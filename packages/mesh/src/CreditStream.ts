/**
 * Our stream on top of a layer's raw one, the same over every layer. Owned by a `Session`; application bytes flow in by
 * `write` and out by `read`, records flow through the raw stream. The raw stream is read all the time, so grants and
 * resets are seen even when nobody reads; what nobody reads is bounded by the credit window.
 *
 * A record is a u32 (big-endian), then a payload: 0 = end of our direction; 1…2¹⁴ = that many data bytes follow;
 * top bit set = a grant of that many bytes (but for two values of `RecordKind`). Both sides start with a full window.
 */
import { Deferred, Effect, FiberId, Option } from "effect"
import type { RawStream } from "./internal/RawSession.ts"
import { StreamError } from "./MeshError.ts"
import type { MeshStream } from "./Transport.ts"

/** Record words that are neither data, end nor grant. */
export const RecordKind = {
  /** First word of a session's own control stream; never inside a credited stream. */
  control: 0xc0000000,
  /** Reset with the u32 code that follows, for layers that cannot carry a code beside the bytes. */
  reset: 0xc0000001
} as const

/** Reset codes that the transport itself uses; applications use codes below 0xff00. */
export const ResetCode = {
  /** More streams than the session's bound, or too many waiting to be accepted. */
  refused: 0xff01,
  /** A write was interrupted after a part of it had been sent: whatever follows would be read as garbage. */
  interrupted: 0xff02
} as const

/** Longest data payload of one record: bounds how long a grant waits behind data on the same stream. */
const payloadBytesMax = 16 * 1024

/** Most application bytes handed to the layer in one call; larger writes gain nothing measurable. */
const batchBytesMax = 64 * 1024

/** Unread chunks shorter than this are merged, so that one-byte records cannot cost a hundred times their size. */
const mergeBelowBytes = 512
const mergeBlockBytes = 4 * 1024

const grantBit = 0x80000000

/** Represents bytes counted over all streams of a session. */
export interface ByteCounters {
  bytesSent: number
  bytesReceived: number
}

/** Represents what a stream needs from the session it belongs to. */
export interface StreamOwner {
  readonly counters: ByteCounters
  readonly windowBytes: number
  /** Called once, when the stream is over in both directions, cleanly or not. */
  readonly finished: (stream: CreditStream) => void
  /** The other side broke the protocol: the session must end. */
  readonly violated: (why: string) => void
}

interface Writer {
  /** `undefined` = the end of our direction. */
  readonly bytes: Uint8Array | undefined
  at: number
  readonly resume: (effect: Effect.Effect<void, StreamError>) => void
}

/** Represents one stream with credit and an explicit end in each direction. */
export class CreditStream implements MeshStream {
  /** Bytes that we may still send. */
  #allowance: number
  /** Bytes that the other side may still send. */
  #granted: number
  /** Bytes read by the application and not yet granted again. */
  #owed = 0
  #error: StreamError | undefined
  #ending = false
  #sentEnd = false
  #gotEnd = false
  /** Both ends are through, clean. */
  #settled = false

  // Parser: bytes of the header word seen so far, and payload bytes still missing.
  #word = 0
  #wordBytes = 0
  #payload = 0
  #resetting = false

  readonly #inbox: Array<Uint8Array> = []
  #inboxAt = 0
  #block: Uint8Array | undefined
  #blockUsed = 0
  #reader: ((effect: Effect.Effect<Option.Option<Uint8Array>, StreamError>) => void) | undefined
  readonly #writers: Array<Writer> = []
  /** Records the layer refused for now, in order. */
  readonly #refused: Array<Uint8Array> = []
  readonly #closed = Deferred.unsafeMake<void, StreamError>(FiberId.none)
  readonly #raw: RawStream
  readonly #owner: StreamOwner

  readonly closed: Effect.Effect<void, StreamError>

  constructor(raw: RawStream, owner: StreamOwner) {
    this.#raw = raw
    this.#owner = owner
    this.#allowance = owner.windowBytes
    this.#granted = owner.windowBytes
    this.closed = Deferred.await(this.#closed)
  }

  readonly write = (bytes: Uint8Array): Effect.Effect<void, StreamError> =>
    Effect.suspend(() => {
      const refusal = this.#error ?? (this.#ending ? new StreamError({ reason: "Ended", code: 0 }) : undefined)
      if (refusal !== undefined) return refusal
      const at = this.#writers.length === 0 ? this.#send(bytes, 0) : 0
      return at === bytes.length ? Effect.void : this.#wait(bytes, at)
    })

  readonly read: Effect.Effect<Option.Option<Uint8Array>, StreamError> = Effect.suspend(() => {
    const chunk = this.#take()
    if (chunk !== undefined) return Effect.succeed(Option.some(chunk))
    if (this.#gotEnd) return Effect.succeedNone
    if (this.#error !== undefined) return this.#error
    if (this.#reader !== undefined) return Effect.dieMessage("a stream has one reader at a time")
    return Effect.async<Option.Option<Uint8Array>, StreamError>((resume) => {
      this.#reader = resume
      return Effect.sync(() => {
        if (this.#reader === resume) this.#reader = undefined
      })
    })
  })

  readonly end: Effect.Effect<void, StreamError> = Effect.suspend(() => {
    if (this.#error !== undefined) return this.#error
    if (this.#ending) return Effect.void
    this.#ending = true
    if (this.#writers.length > 0) return this.#wait(undefined, 0)
    this.#sendEnd()
    return Effect.void
  })

  readonly reset = (code: number): Effect.Effect<void> => Effect.sync(() => this.unsafeReset(code))

  /** Resets the stream; nothing happens when it is over already. */
  unsafeReset(code: number): void {
    if (this.#error !== undefined || this.#settled) return
    this.#raw.reset(code >>> 0)
    this.unsafeFail(new StreamError({ reason: "Reset", code: code >>> 0 }))
  }

  /** Fails both directions; what was received before a clean end stays readable unless the stream was reset. */
  unsafeFail(error: StreamError): void {
    if (this.#error !== undefined) return
    this.#error = error
    if (!this.#gotEnd || error.reason === "Reset") {
      this.#inbox.length = 0
      this.#inboxAt = 0
      this.#block = undefined
    }
    this.#refused.length = 0
    const reader = this.#reader
    this.#reader = undefined
    reader?.(error)
    for (const writer of this.#writers.splice(0)) writer.resume(error)
    if (this.#settled) return
    Deferred.unsafeDone(this.#closed, error)
    this.#owner.finished(this)
  }

  /** Takes bytes from the layer. */
  unsafeReceive(chunk: Uint8Array): void {
    this.#owner.counters.bytesReceived += chunk.length
    let at = 0
    while (at < chunk.length && this.#error === undefined) {
      if (this.#payload > 0) {
        const length = Math.min(this.#payload, chunk.length - at)
        this.#payload -= length
        this.#deliver(chunk.subarray(at, at + length))
        at += length
        continue
      }
      this.#word = ((this.#word << 8) | (chunk[at++] ?? 0)) >>> 0
      this.#wordBytes += 1
      if (this.#wordBytes < 4) continue
      this.#wordBytes = 0
      this.#record(this.#word)
    }
  }

  /** The layer will bring no more bytes. */
  unsafeCut(): void {
    if (this.#settled) return
    this.unsafeFail(new StreamError({ reason: "SessionClosed", code: 0, cause: "cut before its end" }))
  }

  /** The other side resets the stream. */
  unsafeResetByPeer(code: number): void {
    if (this.#error !== undefined || this.#settled) return
    this.#raw.reset(code)
    this.unsafeFail(new StreamError({ reason: "Reset", code }))
  }

  /** The layer takes bytes again. */
  unsafeFlush(): void {
    let taken = 0
    for (const record of this.#refused) {
      if (!this.#raw.write(record)) break
      taken += 1
    }
    this.#refused.splice(0, taken)
    if (this.#refused.length > 0) return
    this.#resumeWriters()
    this.#settle()
  }

  // internal

  #record(word: number): void {
    if (this.#resetting) {
      this.unsafeResetByPeer(word)
      return
    }
    if (word >= grantBit) {
      if (word === RecordKind.reset) {
        this.#resetting = true
        return
      }
      const bytes = word - grantBit
      if (bytes === 0 || this.#allowance + bytes > this.#owner.windowBytes) {
        this.#owner.violated("granted more credit than was used")
        return
      }
      this.#allowance += bytes
      this.#resumeWriters()
      return
    }
    if (this.#gotEnd) {
      this.#owner.violated("sent data after the end of its direction")
      return
    }
    if (word === 0) {
      this.#gotEnd = true
      if (this.#inboxAt === this.#inbox.length) this.#wakeReader(Effect.succeedNone)
      this.#settle()
      return
    }
    if (word > payloadBytesMax) {
      this.#owner.violated("sent a record longer than the bound")
      return
    }
    if (word > this.#granted) {
      this.#owner.violated("sent more than its credit")
      return
    }
    this.#granted -= word
    this.#payload = word
  }

  #deliver(chunk: Uint8Array): void {
    if (this.#reader !== undefined) {
      this.#grant(chunk.length)
      this.#wakeReader(Effect.succeed(Option.some(chunk)))
      return
    }
    if (chunk.length >= mergeBelowBytes || this.#inboxAt === this.#inbox.length) {
      this.#block = undefined
      this.#inbox.push(chunk)
      return
    }
    if (this.#block === undefined || this.#blockUsed + chunk.length > this.#block.length) {
      this.#block = new Uint8Array(mergeBlockBytes)
      this.#blockUsed = 0
      this.#inbox.push(this.#block.subarray(0, 0))
    }
    this.#block.set(chunk, this.#blockUsed)
    this.#blockUsed += chunk.length
    this.#inbox[this.#inbox.length - 1] = this.#block.subarray(0, this.#blockUsed)
  }

  #take(): Uint8Array | undefined {
    const chunk = this.#inbox[this.#inboxAt]
    if (chunk === undefined) return undefined
    this.#inboxAt += 1
    if (this.#inboxAt === this.#inbox.length) {
      this.#inbox.length = 0
      this.#inboxAt = 0
      this.#block = undefined
    }
    this.#grant(chunk.length)
    return chunk
  }

  #wakeReader(result: Effect.Effect<Option.Option<Uint8Array>>): void {
    const reader = this.#reader
    this.#reader = undefined
    reader?.(result)
  }

  /** Grants in halves of the window: one small record per 128 KiB instead of one per read. */
  #grant(bytes: number): void {
    this.#owed += bytes
    if (this.#owed < this.#owner.windowBytes / 2 || this.#gotEnd || this.#error !== undefined) return
    const record = new Uint8Array(4)
    putWord(record, 0, grantBit + this.#owed)
    this.#granted += this.#owed
    this.#owed = 0
    this.#put(record)
  }

  /** Sends as much of `bytes` from `at` as credit and layer allow, and returns how far it came. */
  #send(bytes: Uint8Array, at: number): number {
    let sent = at
    while (sent < bytes.length && this.#allowance > 0 && this.#refused.length === 0) {
      const length = Math.min(bytes.length - sent, this.#allowance, batchBytesMax)
      this.#allowance -= length
      this.#put(toRecords(bytes, sent, length))
      sent += length
    }
    return sent
  }

  #put(records: Uint8Array): void {
    this.#owner.counters.bytesSent += records.length
    if (this.#refused.length > 0 || !this.#raw.write(records)) this.#refused.push(records)
  }

  #sendEnd(): void {
    this.#sentEnd = true
    this.#put(new Uint8Array(4))
    this.#settle()
  }

  #wait(bytes: Uint8Array | undefined, at: number): Effect.Effect<void, StreamError> {
    return Effect.async<void, StreamError>((resume) => {
      const writer: Writer = { bytes, at, resume }
      this.#writers.push(writer)
      return Effect.sync(() => {
        const index = this.#writers.indexOf(writer)
        if (index < 0) return
        if (writer.at > 0) return this.unsafeReset(ResetCode.interrupted)
        if (bytes !== undefined) this.#writers.splice(index, 1)
      })
    })
  }

  #resumeWriters(): void {
    for (let writer = this.#writers[0]; writer !== undefined; writer = this.#writers[0]) {
      if (writer.bytes === undefined) this.#sendEnd()
      else {
        writer.at = this.#send(writer.bytes, writer.at)
        if (writer.at < writer.bytes.length) return
      }
      this.#writers.shift()
      writer.resume(Effect.void)
    }
  }

  /** Completes the stream when both ends are through. */
  #settle(): void {
    if (!this.#sentEnd || !this.#gotEnd || this.#refused.length > 0) return
    if (this.#settled || this.#error !== undefined) return
    this.#settled = true
    this.#raw.end()
    Deferred.unsafeDone(this.#closed, Effect.void)
    this.#owner.finished(this)
  }
}

const putWord = (into: Uint8Array, at: number, word: number): void => {
  into[at] = word >>> 24
  into[at + 1] = word >>> 16
  into[at + 2] = word >>> 8
  into[at + 3] = word
}

/** Copies `length` bytes from `at` into records, headers included: one array and one call down for all of them. */
const toRecords = (bytes: Uint8Array, at: number, length: number): Uint8Array => {
  const out = new Uint8Array(length + 4 * Math.ceil(length / payloadBytesMax))
  let to = 0
  for (let from = 0; from < length; from += payloadBytesMax) {
    const payload = Math.min(payloadBytesMax, length - from)
    putWord(out, to, payload)
    out.set(bytes.subarray(at + from, at + from + payload), to + 4)
    to += 4 + payload
  }
  return out
}
