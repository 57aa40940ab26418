/**
 * Our session on top of a layer's raw one: bounded streams, liveness, round-trip time, one close for all reasons. Owned
 * by the scope it is made in, which closes it. Streams come in through the raw session's events and wait in a bounded
 * mailbox; pings run on a control stream of the session's own.
 */
import {
  Cause,
  type Clock,
  Deferred,
  Effect,
  Either,
  Exit,
  FiberId,
  FiberSet,
  Mailbox,
  Option,
  type Scope
} from "effect"
import { type ByteCounters, CreditStream, ResetCode, type StreamOwner } from "./CreditStream.ts"
import * as control from "./internal/controlStream.ts"
import { awaitFirstWord, ignoreEvents } from "./internal/firstWord.ts"
import { eventsOf, type Guarded } from "./internal/guardedEvents.ts"
import {
  NoStreamFree,
  type RawClose,
  type RawSession,
  type RawStream,
  type RawStreamEvents
} from "./internal/RawSession.ts"
import { SessionError, StreamError } from "./MeshError.ts"
import * as MeshMetrics from "./MeshMetrics.ts"
import * as Liveness from "./SessionLiveness.ts"
import { RecordKind } from "./StreamRecords.ts"
import type { Datagrams, Session as MeshSession, MeshStream, SessionStats } from "./Transport.ts"
import type { TransportLimits } from "./TransportLimits.ts"

/** Datagrams that wait for a reader; older ones are dropped, as they would be on the wire. */
const datagramsWaitingMax = 64

/** The other side frees a stream's place a round trip before we see it end: so many more than the bound are let in. */
const streamsSlack = 64

/** Goodbyes are shown to people; a longer one is cut. */
const reasonCharactersMax = 256

/** Close codes of the transport itself; applications use codes below 0xff00. */
export const CloseCode = {
  /** The owner's scope ended: the process stops or needs the session no more. */
  released: 0xff00,
  /** The other side broke the protocol of streams. */
  violation: 0xff01,
  /** Nothing was heard for too long. */
  silence: 0xff02,
  /** Too many sessions, or too many waiting. */
  refused: 0xff03,
  /** The session carried all that its layer can carry in one: dial again. */
  worn: 0xff04
} as const

/** Represents what a session is told about itself. */
export interface SessionOptions {
  readonly layer: "quic" | "webtransport" | "memory"
  readonly direction: MeshSession["direction"]
  readonly limits: TransportLimits
}

/** Represents a live session over a layer's raw one. */
class LiveSession implements MeshSession {
  readonly direction: MeshSession["direction"]
  readonly serverCertificateSha256: Uint8Array
  readonly datagrams: Option.Option<Datagrams>
  readonly closed: Effect.Effect<SessionError>
  readonly accept: Effect.Effect<MeshStream, SessionError>

  readonly #raw: RawSession
  readonly #options: SessionOptions
  readonly #waiting: Mailbox.Mailbox<MeshStream, SessionError>
  readonly #datagramsWaiting: Mailbox.Mailbox<Uint8Array, SessionError>
  readonly #clock: Clock.Clock
  readonly #log: (defect: unknown) => void
  readonly #owner: StreamOwner
  readonly #counters: ByteCounters = { bytesSent: 0, bytesReceived: 0 }
  readonly #opened = new Set<CreditStream>()
  readonly #accepted = new Set<CreditStream>()
  /** Streams being opened, and raw streams whose first word has not come yet. */
  #opening = 0
  #nameless = 0
  #streamsEver = 0
  #take: ((stream: MeshStream) => void) | undefined
  readonly #over = Deferred.unsafeMake<SessionError>(FiberId.none)
  #error: SessionError | undefined

  #control: RawStream | undefined
  #liveness: Liveness.Liveness
  #pingId = 0
  #measured: { readonly id: number; readonly sentAtMs: number } | undefined
  #rttMs: number | undefined
  #reported = MeshMetrics.noTotals

  constructor(raw: RawSession, options: SessionOptions, parts: Parts) {
    this.#raw = raw
    this.#options = options
    this.#waiting = parts.streams
    this.#datagramsWaiting = parts.datagrams
    this.#clock = parts.clock
    this.#log = parts.log
    this.#liveness = Liveness.initial(this.#nowMs())
    this.direction = options.direction
    this.serverCertificateSha256 = raw.serverCertificateSha256
    this.closed = Deferred.await(this.#over)
    this.accept = takeFrom(this.#waiting)
    this.datagrams = Option.map(Option.fromNullable(raw.datagrams), ({ sizeBytesMax, send }) => ({
      sizeBytesMax,
      send: (bytes) => Effect.suspend(() => this.#error ?? Effect.sync(() => send(bytes))),
      receive: takeFrom(this.#datagramsWaiting)
    }))
    this.#owner = {
      counters: this.#counters,
      windowBytes: options.limits.windowBytes,
      finished: (stream) => void (this.#opened.delete(stream) || this.#accepted.delete(stream)),
      violated: (why) => this.#violated(why)
    }
    MeshMetrics.sessionOpened(options)
    raw.listen({
      stream: (stream) => this.#announced(stream),
      datagram: (bytes) => void this.#datagramsWaiting.unsafeOffer(bytes),
      closed: (why) => this.#closedByLayer(why)
    })
  }

  get remoteAddress(): string {
    return this.#raw.remoteAddress
  }

  readonly open: Effect.Effect<MeshStream, SessionError> = Effect.uninterruptible(
    Effect.tryPromise({ try: () => this.unsafeOpen(), catch: (error) => this.#openError(error) })
  )

  readonly unsafeOpen = (): Promise<MeshStream> => {
    if (this.#error !== undefined) return Promise.reject(this.#error)
    if (this.#opened.size + this.#opening >= this.#options.limits.streamsMax) {
      return Promise.reject(this.#tooManyStreams())
    }
    this.#opening += 1
    this.#streamsEver += 1
    return this.#raw.open().then(
      (raw) => {
        this.#opening -= 1
        if (this.#error !== undefined) throw this.#error
        const stream = new CreditStream(raw, this.#owner)
        this.#opened.add(stream)
        raw.listen(eventsOf(stream, this.#guarded))
        return stream
      },
      (cause) => {
        this.#opening -= 1
        throw this.#openError(cause)
      }
    )
  }

  readonly unsafeServe = (take: ((stream: MeshStream) => void) | undefined): void => {
    this.#take = take
  }

  readonly stats: Effect.Effect<SessionStats> = Effect.sync(() => {
    const { rttMs, packetsSent, packetsLost } = this.#raw.stats()
    return { rttMs: rttMs ?? this.#rttMs, packetsSent, packetsLost, ...this.#counters }
  })

  readonly close = (code: number, reason: string): Effect.Effect<void> => Effect.sync(() => this.#leave(code, reason))

  /** Opens the control stream of a session that we dialled; a session too dead for it is noticed by its silence. */
  readonly openControl: Effect.Effect<void> = Effect.tryPromise(() => this.#raw.open()).pipe(
    Effect.flatMap((raw) =>
      Effect.sync(() => {
        raw.write(control.marker())
        this.#useControl(raw, (events) => raw.listen(events))
      })
    ),
    Effect.ignore
  )

  /** Pings, measures and judges the other side; returns whether the session goes on. */
  readonly tick: Effect.Effect<boolean> = Effect.sync(() => {
    if (this.#error !== undefined) return false
    const nowMs = this.#nowMs()
    this.#liveness = Liveness.tick(this.#liveness, nowMs, this.#counters.bytesReceived)
    if (Liveness.isDead(this.#liveness)) {
      this.#raw.close(CloseCode.silence, "nothing heard for too long")
      this.#finish(new SessionError({ reason: "Lost", address: this.remoteAddress, cause: "nothing heard" }))
      return false
    }
    if (this.#isWorn()) {
      this.#leave(CloseCode.worn, "the session carried all it can, dial again")
      return false
    }
    const isMeasured = this.#report()
    // Layers that measure no round trip have it from pings alone.
    if (!isMeasured || Liveness.wantsPing(this.#liveness)) this.#ping(nowMs)
    for (const streams of [this.#opened, this.#accepted]) {
      for (const stream of streams) this.#guarded(stream, () => stream.unsafeTick(nowMs))
    }
    return true
  })

  // internal

  readonly #guarded: Guarded = (stream, step) => {
    const done = Either.try(step)
    if (Either.isRight(done)) return
    this.#log(done.left)
    // What told it of its end may have been what broke.
    if (Either.isLeft(Either.try(() => stream.unsafeReset(ResetCode.broken)))) this.#owner.finished(stream)
  }

  #openError(cause: unknown): SessionError {
    if (cause instanceof SessionError) return cause
    if (cause instanceof NoStreamFree) return this.#tooManyStreams()
    return this.#error ?? new SessionError({ reason: "Lost", address: this.remoteAddress, cause })
  }

  #tooManyStreams(): SessionError {
    return new SessionError({ reason: "TooManyStreams", address: this.remoteAddress })
  }

  #isWorn(): boolean {
    const { lifetime } = this.#raw
    if (lifetime === undefined) return false
    const { bytesSent, bytesReceived } = this.#counters
    return Math.max(bytesSent, bytesReceived) > lifetime.bytesMax || this.#streamsEver > lifetime.streamsMax
  }

  #nowMs(): number {
    return Number(this.#clock.unsafeCurrentTimeNanos() / 1_000n) / 1_000
  }

  #announced(raw: RawStream): void {
    const { streamsMax } = this.#options.limits
    if (this.#error !== undefined || this.#accepted.size + this.#nameless >= streamsMax + streamsSlack) {
      raw.reset(ResetCode.refused)
      return
    }
    this.#nameless += 1
    this.#streamsEver += 1
    awaitFirstWord(raw, {
      forgotten: () => {
        this.#nameless -= 1
      },
      named: (word, head, use) => {
        this.#nameless -= 1
        this.#named(raw, word, head, use)
      }
    })
  }

  /** The first word of an accepted stream is there: it is either the control stream or one for the application. */
  #named(raw: RawStream, word: number, head: Uint8Array, use: (events: RawStreamEvents) => void): void {
    if (word === RecordKind.control) {
      if (this.direction === "dialled" || this.#control !== undefined) {
        this.#violated("opened a control stream")
        return
      }
      this.#useControl(raw, (events) => {
        use(events)
        events.data(head.subarray(4))
      })
      return
    }
    const stream = new CreditStream(raw, this.#owner)
    this.#accepted.add(stream)
    const events = eventsOf(stream, this.#guarded)
    use(events)
    const take = this.#take
    if (take !== undefined) this.#guarded(stream, () => take(stream))
    else if (!this.#waiting.unsafeOffer(stream)) {
      stream.unsafeReset(ResetCode.refused)
      return
    }
    events.data(head)
  }

  #useControl(raw: RawStream, listen: (events: RawStreamEvents) => void): void {
    this.#control = raw
    const decode = control.decoder({
      ping: (id) => void raw.write(control.encodePong(id)),
      pong: (id) => this.#ponged(id)
    })
    listen({
      ...ignoreEvents,
      data: (bytes) => {
        this.#counters.bytesReceived += bytes.length
        if (!decode(bytes)) this.#violated("sent garbage on the control stream")
      }
    })
    this.#ping(this.#nowMs())
  }

  /** A ping that the layer does not take is dropped: the next tick sends another. */
  #ping(nowMs: number): void {
    this.#pingId = (this.#pingId + 1) >>> 0
    if (this.#control?.write(control.encodePing(this.#pingId)) !== true) return
    this.#measured ??= { id: this.#pingId, sentAtMs: nowMs }
  }

  #ponged(id: number): void {
    if (this.#measured?.id !== id) return
    const sampleMs = this.#nowMs() - this.#measured.sentAtMs
    this.#measured = undefined
    // RFC 6298's smoothing: an eighth of each new sample.
    this.#rttMs = this.#rttMs === undefined ? sampleMs : this.#rttMs + (sampleMs - this.#rttMs) / 8
  }

  /** Tells the metrics what was measured since the last time; returns whether the layer measures round trips. */
  #report(): boolean {
    const { rttMs, ...counted } = this.#raw.stats()
    const totals = { ...MeshMetrics.noTotals, ...this.#counters, ...counted }
    MeshMetrics.sessionMeasured(this.#options.layer, rttMs ?? this.#rttMs, this.#reported, totals)
    this.#reported = totals
    return rttMs !== undefined
  }

  #violated(why: string): void {
    this.#leave(CloseCode.violation, why, new StreamError({ reason: "Overrun", code: 0, cause: why }))
  }

  #leave(code: number, reason: string, streamError?: StreamError): void {
    if (this.#error !== undefined) return
    const words = reason.slice(0, reasonCharactersMax)
    this.#raw.close(code >>> 0, words)
    const goodbye = { by: "us", code: code >>> 0, reason: words } as const
    this.#finish(new SessionError({ reason: "Closed", address: this.remoteAddress, goodbye }), streamError)
  }

  #closedByLayer(why: RawClose): void {
    if (why.kind === "lost") {
      this.#finish(new SessionError({ reason: "Lost", address: this.remoteAddress, cause: why.cause }))
      return
    }
    const goodbye = { by: "them", code: why.code, reason: why.reason.slice(0, reasonCharactersMax) } as const
    this.#finish(new SessionError({ reason: "Closed", address: this.remoteAddress, goodbye }))
  }

  #finish(
    error: SessionError,
    streamError = new StreamError({ reason: "SessionClosed", code: 0, cause: error })
  ): void {
    if (this.#error !== undefined) return
    this.#error = error
    for (const stream of [...this.#opened, ...this.#accepted]) stream.unsafeFail(streamError)
    this.#waiting.unsafeDone(Exit.fail(error))
    this.#datagramsWaiting.unsafeDone(Exit.fail(error))
    Deferred.unsafeDone(this.#over, Effect.succeed(error))
    MeshMetrics.sessionClosed(this.#options, error)
  }
}

interface Parts {
  readonly streams: Mailbox.Mailbox<MeshStream, SessionError>
  readonly datagrams: Mailbox.Mailbox<Uint8Array, SessionError>
  readonly clock: Clock.Clock
  readonly log: (defect: unknown) => void
}

/** Takes from a mailbox that ends only with a failure. */
const takeFrom = <A>(mailbox: Mailbox.Mailbox<A, SessionError>): Effect.Effect<A, SessionError> =>
  Effect.catchTag(mailbox.take, "NoSuchElementException", (cause) => Effect.die(cause))

/** Makes our session over a raw one; it is closed with the scope, and its loop ends when the session is over. */
export const make = Effect.fnUntraced(function* (
  raw: RawSession,
  options: SessionOptions
): Effect.fn.Return<MeshSession, never, Scope.Scope> {
  const session = new LiveSession(raw, options, {
    streams: yield* Mailbox.make<MeshStream, SessionError>({
      capacity: options.limits.streamsWaitingMax,
      strategy: "dropping"
    }),
    datagrams: yield* Mailbox.make<Uint8Array, SessionError>({ capacity: datagramsWaitingMax, strategy: "sliding" }),
    clock: yield* Effect.clock,
    log: yield* Effect.map(
      FiberSet.makeRuntime<never>(),
      (run) => (defect: unknown) => void run(Effect.logError("a stream's listener broke", Cause.die(defect)))
    )
  })
  yield* Effect.addFinalizer(() => session.close(CloseCode.released, "leaving"))
  if (options.direction === "dialled") yield* session.openControl
  yield* session.tick.pipe(
    Effect.delay(Liveness.tickMs),
    Effect.repeat({ while: (alive) => alive }),
    Effect.interruptible,
    Effect.forkScoped
  )
  return session
})
