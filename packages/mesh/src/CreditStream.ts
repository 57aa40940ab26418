/**
 * Our stream on top of a layer's raw one, the same over every layer. Owned by a `Session`; application bytes flow in by
 * `write` and out by `read` or to a listener, records (`StreamRecords.ts`) flow through the raw stream. That is read
 * all the time, so grants and resets are seen even when nobody reads; what nobody reads is bounded by the credit
 * window. Both sides start with a full one.
 */
import { Deferred, Effect, FiberId, Option } from "effect"
import { Inbox } from "./internal/Inbox.ts"
import type { RawStream } from "./internal/RawSession.ts"
import { StreamError } from "./MeshError.ts"
import * as records from "./StreamRecords.ts"
import type { MeshStream, StreamListener } from "./Transport.ts"

/** Reset codes that the transport itself uses; applications use codes below 0xff00. */
export const ResetCode = {
  /** More streams than the session's bound, or too many waiting to be accepted. */
  refused: 0xff01,
  /** Whoever listened to the stream here broke. */
  broken: 0xff03,
  /** A write was interrupted after a part of it had been sent: whatever follows would be read as garbage. */
  interrupted: 0xff02
} as const

/** Widest window that a reader may open: it fills a line of 640 Mbit/s at 100 ms. */
export const windowBytesMax = 8 * 1024 * 1024

/** Most application bytes handed to the layer in one call; larger writes gain nothing measurable. */
const batchBytesMax = 64 * 1024

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
  /** What the other side may send ahead of our reader. */
  #windowBytes: number
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

  readonly #inbox = new Inbox()
  #listener: StreamListener | undefined
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
    this.#windowBytes = owner.windowBytes
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

  unsafeListen(listener: StreamListener | undefined): void {
    this.#listener = listener
    for (let chunk = listener && this.#take(); chunk !== undefined; ) {
      listener?.data(chunk)
      chunk = this.#listener === listener ? this.#take() : undefined
    }
    if (listener === undefined || this.#listener !== listener) return
    if (this.#gotEnd) listener.ended()
    if (this.#settled) listener.closed()
    else if (this.#error !== undefined) listener.failed(this.#error)
  }

  unsafeUnread(bytes: Uint8Array): void {
    if (bytes.length === 0 || this.#error !== undefined) return
    this.#owed -= bytes.length
    this.#inbox.putBack(bytes)
  }

  unsafeWiden(windowBytes: number): void {
    const more = Math.min(windowBytes, windowBytesMax) - this.#windowBytes
    if (more <= 0 || this.#gotEnd || this.#error !== undefined) return
    this.#windowBytes += more
    this.#granted += more
    this.#put(records.grant(more))
  }

  unsafeWrite(bytes: Uint8Array): number {
    if (this.#error !== undefined || this.#ending) return 0
    const at = this.#writers.length === 0 ? this.#send(bytes, 0) : 0
    if (at < bytes.length) this.#writers.push({ bytes, at, resume: ignore })
    return this.#writers.reduce((sum, { at, bytes }) => sum + (bytes?.length ?? 0) - at, 0)
  }

  unsafeEnd(): void {
    if (this.#error !== undefined || this.#ending) return
    this.#ending = true
    if (this.#writers.length > 0) this.#writers.push({ bytes: undefined, at: 0, resume: ignore })
    else this.#sendEnd()
  }

  unsafeReset(code: number): void {
    if (this.#error !== undefined || this.#settled) return
    this.#raw.reset(code >>> 0)
    this.unsafeFail(new StreamError({ reason: "Reset", code: code >>> 0 }))
  }

  /** Fails both directions; what was received before a clean end stays readable unless the stream was reset. */
  unsafeFail(error: StreamError): void {
    if (this.#error !== undefined) return
    this.#error = error
    if (!this.#gotEnd || error.reason === "Reset") this.#inbox.clear()
    this.#refused.length = 0
    const reader = this.#reader
    this.#reader = undefined
    reader?.(error)
    for (const writer of this.#writers.splice(0)) writer.resume(error)
    if (this.#settled) return
    this.#listener?.failed(error)
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

  /** Lets the listener look at the time; called by the session's own tick. */
  unsafeTick(nowMs: number): void {
    if (this.#error === undefined) this.#listener?.tick(nowMs)
  }

  // internal

  #record(word: number): void {
    if (this.#resetting) {
      this.unsafeResetByPeer(word)
      return
    }
    if (word >= records.grantBit) {
      if (word === records.RecordKind.reset) {
        this.#resetting = true
        return
      }
      const bytes = word - records.grantBit
      if (bytes === 0 || this.#allowance + bytes > windowBytesMax) {
        this.#owner.violated("granted more credit than any window has")
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
      if (this.#inbox.isEmpty) {
        this.#wakeReader(Effect.succeedNone)
        this.#listener?.ended()
      }
      this.#settle()
      return
    }
    if (word > records.payloadBytesMax) {
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
    if (this.#listener !== undefined) {
      this.#grant(chunk.length)
      this.#listener.data(chunk)
      return
    }
    this.#inbox.push(chunk)
  }

  #take(): Uint8Array | undefined {
    const chunk = this.#inbox.take()
    if (chunk === undefined) return undefined
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
    if (this.#owed < this.#windowBytes / 2 || this.#gotEnd || this.#error !== undefined) return
    this.#put(records.grant(this.#owed))
    this.#granted += this.#owed
    this.#owed = 0
  }

  /** Sends as much of `bytes` from `at` as credit and layer allow, and returns how far it came. */
  #send(bytes: Uint8Array, at: number): number {
    let sent = at
    while (sent < bytes.length && this.#allowance > 0 && this.#refused.length === 0) {
      const length = Math.min(bytes.length - sent, this.#allowance, batchBytesMax)
      this.#allowance -= length
      this.#put(records.data(bytes, sent, length))
      sent += length
    }
    return sent
  }

  #put(bytes: Uint8Array): void {
    this.#owner.counters.bytesSent += bytes.length
    if (this.#refused.length > 0 || !this.#raw.write(bytes)) this.#refused.push(bytes)
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
    this.#listener?.closed()
    Deferred.unsafeDone(this.#closed, Effect.void)
    this.#owner.finished(this)
  }
}

const ignore = (): void => {}
