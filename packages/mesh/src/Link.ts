/**
 * A session whose other side has proved who it is. The dialler opens the first stream and the two exchange the hello
 * (`Hello.ts`) on it; until that succeeds nothing else is read. Every later stream begins with a `StreamHeader`, which
 * says what it is for.
 */
import { Effect, Either, FiberSet, Option, Schema, type Scope } from "effect"
import { concat } from "./FrameBuffer.ts"
import * as Frames from "./Frames.ts"
import * as Hello from "./Hello.ts"
import { Identity } from "./Identity.ts"
import { randomBytes } from "./internal/ed25519.ts"
import { SessionError, type StreamError } from "./MeshError.ts"
import * as MeshMetrics from "./MeshMetrics.ts"
import type { PeerId } from "./PeerId.ts"
import { type MeshStream, type Session, type StreamListener, Transport } from "./Transport.ts"

/** Represents a live, authenticated connection. */
export interface Link {
  readonly peer: PeerId
  readonly role: Hello.Role
  /** Rises with every link of this process, so that an older one of the same peer can be told from a newer. */
  readonly number: number
  readonly session: Session
}

/** Represents the first frame of every stream after the hello. */
export const StreamHeader = Schema.Struct({
  kind: Schema.Literal("control", "generate", "split", "stage", "edge"),
  version: Schema.Int
})
export type StreamHeader = typeof StreamHeader.Type

/** Application codes with which a session ends, as both sides log them. */
export const CloseCode = {
  leaving: 1,
  helloRefused: 2,
  replaced: 3,
  /** The other side calls on its control stream without measure. */
  flooded: 4
} as const

/** Application codes with which a stream is reset. */
export const ResetCode = {
  cancelled: 1,
  unknownKind: 2,
  malformed: 3,
  /** The other side asks and does not read the answers. */
  overrun: 4
} as const

/** Longest hello: two round trips of a second each on the worst line that still serves, and the signatures. */
const helloDeadline = "5 seconds"
/** A hello message is about 250 bytes. */
const helloBytesMax = 1_024
/** A header comes with the stream's first packet, or somebody plays games. */
const headerMsMax = 5_000

/** Dials `address` and proves who we are; fails where the other side is not `expected`. */
export const dial = Effect.fn("Link.dial")(function* (
  address: string,
  options: { readonly role: Hello.Role; readonly expected: PeerId | undefined }
) {
  const transport = yield* Transport
  const session = yield* transport.dial(address)
  return yield* refusing(session, dialHello(session, options))
})

/**
 * Lets the other side of an accepted session prove who it is, and that in the role we accept; else closes the session.
 */
export const accept = Effect.fn("Link.accept")(function* (
  session: Session,
  options: { readonly role: Hello.Role; readonly accepts: Hello.Role }
) {
  return yield* refusing(session, acceptHello(session, options))
})

/** Opens a stream for `kind`. It is reset with the scope. */
export const open = Effect.fnUntraced(function* (
  link: Link,
  kind: StreamHeader["kind"]
): Effect.fn.Return<MeshStream, SessionError | StreamError, Scope.Scope> {
  const stream = yield* Effect.acquireRelease(link.session.open, (stream) => stream.reset(ResetCode.cancelled))
  yield* stream.write(headers[kind])
  return stream
})

/** Represents who is told of a stream that was opened without a fiber. */
export interface Opening {
  /** The header and `first` are on their way. */
  readonly opened: (stream: MeshStream) => void
  /** There is no stream, as the session is over or has too many. */
  readonly refused: (error: SessionError) => void
}

/** Opens a stream for `kind` and sends `first` with the header in one write. */
export const unsafeOpen = (
  { session }: Link,
  kind: StreamHeader["kind"],
  first: Uint8Array,
  opening: Opening
): void => {
  session.unsafeOpen().then(
    (stream) => {
      stream.unsafeWrite(concat([headers[kind], first]))
      opening.opened(stream)
    },
    (error: unknown) =>
      opening.refused(
        error instanceof SessionError
          ? error
          : new SessionError({ reason: "Lost", address: session.remoteAddress, cause: error })
      )
  )
}

/** Represents a stream that the other side opened, past its header. */
export interface Incoming {
  readonly kind: StreamHeader["kind"]
  readonly stream: MeshStream
}

/**
 * Hands every stream that the other side opens to `handle`, until the session ends. An effect that it returns runs in a
 * fiber of its own, whose end releases the stream; a handler that listens to the stream returns nothing and releases
 * it itself. A stream without a header in time, or of a kind nobody knows, is reset.
 */
export const serve = <R = never>(
  { session }: Link,
  // Nothing to run is `void`, so that a handler may end in any call.
  handle: (incoming: Incoming) => Effect.Effect<void, never, R | Scope.Scope> | void
): Effect.Effect<SessionError, never, Exclude<R, Scope.Scope>> =>
  Effect.gen(function* () {
    const run = yield* FiberSet.makeRuntime<Exclude<R, Scope.Scope>>()
    const take = (stream: MeshStream): void =>
      stream.unsafeListen(
        new HeaderListener(stream, (kind) => {
          const handled = handle({ kind, stream })
          if (handled === undefined) return
          run(Effect.ensuring(Effect.scoped(handled), stream.reset(ResetCode.cancelled)))
        })
      )
    yield* Effect.acquireRelease(
      Effect.sync(() => session.unsafeServe(take)),
      () => Effect.sync(() => session.unsafeServe(undefined))
    )
    return yield* Effect.forever(Effect.map(session.accept, take))
  }).pipe(Effect.scoped, Effect.flip)

// internal

let links = 0

const encodeHeader = Frames.encode(StreamHeader)
const headerOf = (kind: StreamHeader["kind"]) => encodeHeader({ kind, version: Hello.protocolVersion })
const decodeHeader = Frames.decode(StreamHeader)
/** The same few bytes begin every stream of a kind. */
const headers: Readonly<Record<StreamHeader["kind"], Uint8Array>> = {
  control: headerOf("control"),
  generate: headerOf("generate"),
  split: headerOf("split"),
  stage: headerOf("stage"),
  edge: headerOf("edge")
}
const encodeOffer = Frames.encode(Hello.Offer)
const encodeAccept = Frames.encode(Hello.Accept)
const encodeProof = Frames.encode(Hello.Proof)

/** Reads the header of one stream, hands back what came behind it, and lets go. */
class HeaderListener implements StreamListener {
  readonly #feed = new Frames.FrameFeed(Frames.frameBytesMax)
  readonly #stream: MeshStream
  readonly #known: (kind: StreamHeader["kind"]) => void
  #sinceMs: number | undefined

  constructor(stream: MeshStream, known: (kind: StreamHeader["kind"]) => void) {
    this.#stream = stream
    this.#known = known
  }

  data(bytes: Uint8Array): void {
    this.#feed.push(bytes)
    const payload = this.#feed.next()
    if (payload === undefined) return
    const header = payload instanceof Uint8Array ? Either.getOrUndefined(decodeHeader(payload)) : undefined
    if (header === undefined) this.#stream.unsafeReset(ResetCode.unknownKind)
    else {
      this.#stream.unsafeListen(undefined)
      this.#stream.unsafeUnread(this.#feed.rest())
      this.#known(header.kind)
    }
  }

  ended(): void {
    this.#stream.unsafeReset(ResetCode.unknownKind)
  }

  closed(): void {}

  failed(): void {}

  tick(nowMs: number): void {
    this.#sinceMs ??= nowMs
    if (nowMs - this.#sinceMs > headerMsMax) this.#stream.unsafeReset(ResetCode.unknownKind)
  }
}

const linked = (session: Session, peer: PeerId, role: Hello.Role): Link => ({ peer, role, number: ++links, session })

const dialHello = Effect.fnUntraced(function* (
  session: Session,
  { expected, role }: { readonly role: Hello.Role; readonly expected: PeerId | undefined }
) {
  const identity = yield* Identity
  const stream = yield* session.open
  const frames = Frames.reader(stream, { sizeBytesMax: helloBytesMax })
  const offer = Hello.Offer.make({ version: Hello.protocolVersion, id: identity.id, role, nonce: randomBytes(32) })
  yield* stream.write(encodeOffer(offer))
  const accept = yield* receive(frames, Hello.Accept)
  yield* verdict(Hello.judgeAccept(offer, accept, session.serverCertificateSha256, expected))
  const signature = identity.sign(Hello.transcript("dialler", offer, accept, session.serverCertificateSha256))
  yield* stream.write(encodeProof(Hello.Proof.make({ signature })))
  yield* stream.end
  return linked(session, accept.id, accept.role)
})

const acceptHello = Effect.fnUntraced(function* (
  session: Session,
  { accepts, role }: { readonly role: Hello.Role; readonly accepts: Hello.Role }
) {
  const identity = yield* Identity
  const stream = yield* session.accept
  const frames = Frames.reader(stream, { sizeBytesMax: helloBytesMax })
  const offer = yield* receive(frames, Hello.Offer)
  yield* verdict(Hello.judgeOffer(offer, identity.id, accepts))
  const unsigned = {
    _tag: "Accept",
    version: Hello.protocolVersion,
    id: identity.id,
    role,
    nonce: randomBytes(32)
  } as const
  const signature = identity.sign(Hello.transcript("listener", offer, unsigned, session.serverCertificateSha256))
  yield* stream.write(encodeAccept(Hello.Accept.make({ ...unsigned, signature })))
  const proof = yield* receive(frames, Hello.Proof)
  yield* verdict(Hello.judgeProof(offer, unsigned, proof, session.serverCertificateSha256))
  yield* stream.end
  return linked(session, offer.id, offer.role)
})

const verdict = (refused: Hello.HelloRefused | undefined): Effect.Effect<void, Hello.HelloRefused> =>
  refused === undefined ? Effect.void : Effect.fail(refused)

const receive = <A, I>(frames: Frames.FrameReader, schema: Schema.Schema<A, I>) =>
  Effect.flatMap(
    frames.read(schema),
    Option.match({
      onNone: () => new Hello.HelloRefused({ reason: "Lost", detail: "the stream ended before the hello did" }),
      onSome: (value) => Effect.succeed(value)
    })
  )

/** Under which name each refusal is counted. */
const counted: Readonly<Record<Hello.HelloRefused["reason"], MeshMetrics.RefusedReason>> = {
  ProtocolVersion: "protocol_version",
  Identity: "identity",
  Signature: "identity",
  Role: "identity",
  Malformed: "malformed",
  Timeout: "timeout",
  Lost: "timeout"
}

/** Gives the hello its deadline; a refusal is counted, told to the other side, and ends the session. */
const refusing = <R>(
  session: Session,
  hello: Effect.Effect<Link, Hello.HelloRefused | Frames.FrameError | StreamError | SessionError, R>
): Effect.Effect<Link, Hello.HelloRefused, R> =>
  hello.pipe(
    Effect.timeoutFail({
      duration: helloDeadline,
      onTimeout: () => new Hello.HelloRefused({ reason: "Timeout", detail: "no hello within 5 seconds" })
    }),
    Effect.mapError((error) =>
      error._tag === "HelloRefused"
        ? error
        : new Hello.HelloRefused({ reason: error._tag === "FrameError" ? "Malformed" : "Lost", detail: error.message })
    ),
    Effect.tapError((refused) =>
      Effect.zipRight(
        Effect.sync(() => MeshMetrics.sessionRefused(counted[refused.reason])),
        session.close(CloseCode.helloRefused, refused.message)
      )
    )
  )
