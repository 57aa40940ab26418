/**
 * One session through the memory network: two raw sessions and a lane in each direction. A lane carries messages in
 * order, each after its delay, by a fiber of the network's; messages are bounded by the credit of the streams above.
 */
import { type Clock, Effect, Queue } from "effect"
import { PCGRandom } from "effect/Utils"
import type { RawClose, RawSession, RawSessionEvents, RawStream, RawStreamEvents } from "./RawSession.ts"

/** Represents what happens to messages on their way. */
export interface Faults {
  /** One-way delay in milliseconds. */
  readonly delayMs: number
  /** Up to so many milliseconds more, uniformly; the order within a session is kept. */
  readonly jitterMs: number
  /** Chance of each message to end its session for both sides, 0 to 1. */
  readonly sessionLossPerMessage: number
  /** Chance of each message of a stream to reset that stream for both sides, 0 to 1. */
  readonly streamCutPerMessage: number
}

/** Code of the resets that the network itself makes. */
export const cutCode = 0xfe01

/** Which pairs of names cannot reach one another now. */
export class Partitions {
  readonly #latches = new Map<string, Effect.Latch>()

  close(left: string, right: string): void {
    this.#latch(left, right).unsafeClose()
  }

  open(left: string, right: string): void {
    this.#latch(left, right).unsafeOpen()
  }

  /** Completes when messages pass between the two. */
  passable(left: string, right: string): Effect.Effect<void> {
    return this.#latch(left, right).await
  }

  #latch(left: string, right: string): Effect.Latch {
    const pair = [left, right].sort().join(" ")
    const latch = this.#latches.get(pair) ?? Effect.unsafeMakeLatch(true)
    this.#latches.set(pair, latch)
    return latch
  }
}

type Message =
  | { readonly kind: "data"; readonly stream: number; readonly bytes: Uint8Array }
  | { readonly kind: "reset"; readonly stream: number; readonly code: number }
  | { readonly kind: "datagram"; readonly bytes: Uint8Array }
  | { readonly kind: "close"; readonly code: number; readonly reason: string }

/** Represents a session and the means to end it from outside. */
export interface Connection {
  readonly dialled: RawSession
  readonly accepted: RawSession
  readonly joins: (left: string, right: string) => boolean
  /** Ends it without a goodbye, for both sides at once. */
  readonly cut: () => void
}

/** Represents what a connection is made of. */
export interface ConnectionOptions {
  readonly from: string
  readonly to: string
  readonly faults: Faults
  readonly seed: number
  readonly passable: Effect.Effect<void>
  readonly run: (effect: Effect.Effect<void>) => void
  readonly over: () => void
  readonly clock: Clock.Clock
}

/** Datagrams carry what fits a QUIC packet elsewhere. */
const datagramBytesMax = 1150

/** Makes a live connection. */
export const connect = (options: ConnectionOptions): Connection => {
  const serverCertificateSha256 = new Uint8Array(
    new Bun.CryptoHasher("sha256").update(`memory://${options.to}`).digest()
  )
  const dialled = new MemorySession(`memory://${options.to}`, serverCertificateSha256, 0)
  const accepted = new MemorySession(`memory://${options.from}`, serverCertificateSha256, 1)
  const cut = (): void => {
    dialled.lose("cut by the network")
    accepted.lose("cut by the network")
  }
  dialled.outgoing = makeLane(options, 0, (message) => accepted.receive(message), cut)
  accepted.outgoing = makeLane(options, 1, (message) => dialled.receive(message), cut)
  dialled.incoming = accepted.outgoing
  accepted.incoming = dialled.outgoing
  dialled.over = options.over
  accepted.over = options.over
  const ends = [options.from, options.to].sort().join(" ")
  return { dialled, accepted, cut, joins: (left, right) => [left, right].sort().join(" ") === ends }
}

interface Lane {
  readonly send: (message: Message) => void
  /** Ends the lane when nobody listens any more. */
  readonly stop: () => void
}

const makeLane = (
  options: ConnectionOptions,
  direction: number,
  deliver: (message: Message) => void,
  cut: () => void
): Lane => {
  const { clock, faults } = options
  const random = new PCGRandom(options.seed, direction)
  // Unbounded by itself: what is in it is bounded by the credit of the streams, or is a small record.
  const queue = Effect.runSync(Queue.unbounded<{ readonly message: Message; readonly dueMs: number }>())
  const nowMs = (): number => Number(clock.unsafeCurrentTimeNanos() / 1_000n) / 1_000
  const carry = Effect.gen(function* () {
    while (true) {
      const { dueMs, message } = yield* Queue.take(queue)
      const waitMs = dueMs - nowMs()
      if (waitMs > 0) yield* Effect.sleep(waitMs)
      yield* options.passable
      if (random.number() < faults.sessionLossPerMessage) cut()
      else deliver(faulty(message, random.number() < faults.streamCutPerMessage))
      if (message.kind === "close") return
    }
  })
  options.run(carry)
  let lastDueMs = 0
  return {
    send: (message) => {
      lastDueMs = Math.max(lastDueMs, nowMs() + faults.delayMs + faults.jitterMs * random.number())
      queue.unsafeOffer({ message, dueMs: lastDueMs })
    },
    stop: () => options.run(Queue.shutdown(queue))
  }
}

/** Stream 0 is the session's own control stream: only its session can be lost. */
const faulty = (message: Message, cut: boolean): Message =>
  cut && message.kind === "data" && message.stream !== 0
    ? { kind: "reset", stream: message.stream, code: cutCode }
    : message

const noLane: Lane = { send: () => {}, stop: () => {} }

class MemorySession implements RawSession {
  readonly remoteAddress: string
  readonly serverCertificateSha256: Uint8Array
  /** Carries messages to the other side; set once by `connect`. */
  outgoing: Lane = noLane
  incoming: Lane = noLane
  over: () => void = () => {}
  readonly #streams = new Map<number, MemoryStream>()
  readonly #early: Array<Message> = []
  #events: RawSessionEvents | undefined
  #closed: RawClose | "by us" | undefined
  #nextStream: number
  /** The lowest number of a stream of theirs that is above all that were heard of. */
  #theirNext: number
  /** Streams of theirs below that, of which nothing has come yet: the first message of one may come after a later's. */
  readonly #unheard = new Set<number>()

  constructor(remoteAddress: string, serverCertificateSha256: Uint8Array, firstStream: 0 | 1) {
    this.remoteAddress = remoteAddress
    this.serverCertificateSha256 = serverCertificateSha256
    this.#nextStream = firstStream
    this.#theirNext = 1 - firstStream
  }

  readonly datagrams = {
    sizeBytesMax: datagramBytesMax,
    send: (bytes: Uint8Array): void => this.#send({ kind: "datagram", bytes: bytes.slice() })
  }

  readonly listen = (events: RawSessionEvents): void => {
    this.#events = events
    for (const message of this.#early.splice(0)) this.receive(message)
    if (this.#closed !== undefined && this.#closed !== "by us") events.closed(this.#closed)
  }

  readonly open = (): Promise<RawStream> => {
    if (this.#closed !== undefined) return Promise.reject(new Error("the session is over"))
    const stream = this.#stream(this.#nextStream)
    this.#nextStream += 2
    return Promise.resolve(stream)
  }

  readonly close = (code: number, reason: string): void => {
    if (this.#closed !== undefined) return
    this.#send({ kind: "close", code, reason })
    this.#closed = "by us"
    this.#streams.clear()
    this.incoming.stop()
    this.over()
  }

  readonly stats = () => ({})

  /** Ends the session without a goodbye. */
  lose(cause: string): void {
    this.#end({ kind: "lost", cause })
  }

  /** Takes a message that came through the lane. */
  receive(message: Message): void {
    if (this.#closed !== undefined) return
    if (this.#events === undefined) {
      this.#early.push(message)
      return
    }
    switch (message.kind) {
      case "datagram":
        this.#events.datagram(message.bytes)
        return
      case "close":
        this.#end({ kind: "left", code: message.code, reason: message.reason })
        return
      case "data":
      case "reset":
        this.#receiveOnStream(this.#events, message)
    }
  }

  #receiveOnStream(events: RawSessionEvents, message: Extract<Message, { readonly stream: number }>): void {
    let stream = this.#streams.get(message.stream)
    const isTheirs = message.stream % 2 !== this.#nextStream % 2
    for (; isTheirs && this.#theirNext <= message.stream; this.#theirNext += 2) this.#unheard.add(this.#theirNext)
    if (this.#unheard.delete(message.stream)) {
      stream = this.#stream(message.stream)
      events.stream(stream)
    }
    if (message.kind === "data") stream?.events?.data(message.bytes)
    else stream?.events?.reset(message.code)
  }

  #stream(id: number): MemoryStream {
    const stream: MemoryStream = {
      events: undefined,
      listen: (events) => {
        stream.events = events
      },
      write: (bytes) => {
        if (this.#streams.get(id) === stream) this.#send({ kind: "data", stream: id, bytes })
        return true
      },
      end: () => void this.#streams.delete(id),
      reset: (code) => {
        if (this.#streams.delete(id)) this.#send({ kind: "reset", stream: id, code })
      }
    }
    this.#streams.set(id, stream)
    return stream
  }

  #send(message: Message): void {
    if (this.#closed === undefined) this.outgoing.send(message)
  }

  #end(why: RawClose): void {
    if (this.#closed !== undefined) return
    this.#closed = why
    for (const stream of this.#streams.values()) stream.events?.cut()
    this.#streams.clear()
    this.incoming.stop()
    this.over()
    this.#events?.closed(why)
  }
}

interface MemoryStream extends RawStream {
  events: RawStreamEvents | undefined
}
