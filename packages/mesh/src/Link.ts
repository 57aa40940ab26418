/**
 * A session whose other side has proved who it is. The dialler opens the first stream and the two exchange the hello
 * (`Hello.ts`) on it; until that succeeds nothing else is read. Every later stream begins with a `StreamHeader`, which
 * says what it is for.
 */
import { Effect, Option, Schema, type Scope } from "effect"
import * as Frames from "./Frames.ts"
import * as Hello from "./Hello.ts"
import { Identity } from "./Identity.ts"
import { randomBytes } from "./internal/ed25519.ts"
import type { SessionError, StreamError } from "./MeshError.ts"
import * as MeshMetrics from "./MeshMetrics.ts"
import type { PeerId } from "./PeerId.ts"
import { type MeshStream, type Session, Transport } from "./Transport.ts"

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
  kind: Schema.Literal("control", "generate"),
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
const headerDeadline = "5 seconds"

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

/** Opens a stream for `kind`; `first` follows the header in the same write. The stream is reset with the scope. */
export const open = Effect.fnUntraced(function* (
  link: Link,
  kind: StreamHeader["kind"],
  first?: Uint8Array
): Effect.fn.Return<MeshStream, SessionError | StreamError, Scope.Scope> {
  const stream = yield* Effect.acquireRelease(link.session.open, (stream) => stream.reset(ResetCode.cancelled))
  const header = encodeHeader({ kind, version: Hello.protocolVersion })
  yield* stream.write(first === undefined ? header : Frames.concat([header, first]))
  return stream
})

/** Represents a stream that the other side opened, past its header. */
export interface Incoming {
  readonly kind: StreamHeader["kind"]
  readonly stream: MeshStream
  /** Reads the frames after the header. */
  readonly frames: Frames.FrameReader
}

/**
 * Hands every stream that the other side opens to `handle`, each in a fiber of its own, until the session ends. A
 * stream without a header in time, or of a kind nobody knows, is reset; a handler's end releases its stream.
 */
export const serve = <R>(
  link: Link,
  handle: (incoming: Incoming) => Effect.Effect<void, never, R | Scope.Scope>
): Effect.Effect<SessionError, never, Exclude<R, Scope.Scope>> =>
  Effect.gen(function* () {
    while (true) {
      const stream = yield* link.session.accept
      yield* Effect.forkScoped(Effect.scoped(serveOne(stream, handle)))
    }
  }).pipe(Effect.scoped, Effect.flip)

// internal

let links = 0

const encodeHeader = Frames.encode(StreamHeader)
const encodeOffer = Frames.encode(Hello.Offer)
const encodeAccept = Frames.encode(Hello.Accept)
const encodeProof = Frames.encode(Hello.Proof)

const serveOne = Effect.fnUntraced(function* <R>(
  stream: MeshStream,
  handle: (incoming: Incoming) => Effect.Effect<void, never, R>
) {
  yield* Effect.addFinalizer(() => stream.reset(ResetCode.cancelled))
  const frames = Frames.reader(stream)
  const header = yield* frames.read(StreamHeader).pipe(Effect.timeout(headerDeadline), Effect.option)
  yield* Option.match(Option.flatten(header), {
    onNone: () => stream.reset(ResetCode.unknownKind),
    onSome: ({ kind }) => handle({ kind, stream, frames })
  })
})

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
