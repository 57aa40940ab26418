/** What a layer brings to the conformance suite, and how the suite makes transports, sessions and round trips of it. */
import type { SessionError, StreamError } from "@weft/mesh/MeshError"
import { type MeshStream, type Session, Transport } from "@weft/mesh/Transport"
import type { TransportLimits } from "@weft/mesh/TransportLimits"
import { Context, Duration, Effect, Layer, Option, type Scope } from "effect"

/** Represents another process that echoes on every stream and can be killed. */
export interface Victim {
  /** Ends it without a goodbye. */
  readonly kill: Effect.Effect<void>
}

/** Represents one layer under test. */
export interface Subject {
  readonly layer: (limits?: Partial<TransportLimits>) => Layer.Layer<Transport, SessionError>
  /** The same layer at an address that is taken. */
  readonly layerAt: (address: string) => Layer.Layer<Transport, SessionError>
  /** An address of this layer where nobody listens. */
  readonly deadAddress: string
  /** Size of the bulk transfer. */
  readonly bulkBytes: number
  /** A victim that listens at `address`. */
  readonly listening: Effect.Effect<Victim & { readonly address: string }, SessionError | StreamError, Scope.Scope>
  /** A victim that dials us. */
  readonly dialling: (address: string) => Effect.Effect<Victim, SessionError | StreamError, Scope.Scope>
}

/** Default credit window, as both sides of these tests have it. */
export const windowBytes = 256 * 1024

/** The contract says 2 s, and virtual time holds the memory layer to it; the machine that runs these may be busy. */
export const noticedWithin = Duration.seconds(3)

export const encode = (text: string): Uint8Array => new TextEncoder().encode(text)
export const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

export const readAll = Effect.fnUntraced(function* (stream: MeshStream) {
  const parts: Array<Uint8Array> = []
  for (;;) {
    const next = yield* stream.read
    if (Option.isNone(next)) return new Uint8Array(Buffer.concat(parts))
    parts.push(next.value)
  }
})

/** Reads exactly `length` bytes, and no more. */
export const readExactly = Effect.fnUntraced(function* (stream: MeshStream, length: number) {
  let seen = 0
  while (seen < length) {
    const next = yield* stream.read
    if (Option.isNone(next)) break
    seen += next.value.length
  }
  return seen
})

export const roundTrip = Effect.fnUntraced(function* (session: Session, message: Uint8Array) {
  const stream = yield* session.open
  const [received] = yield* Effect.all([readAll(stream), Effect.zipRight(stream.write(message), stream.end)], {
    concurrency: "unbounded"
  })
  yield* stream.closed
  return received
})

/** Builds a transport in the scope of the test. */
export const build = (layer: Layer.Layer<Transport, SessionError>) =>
  Effect.map(Layer.build(layer), (context) => Context.get(context, Transport))

/** Makes a session between two transports: `near` dialled, `far` accepted. */
export const connect = Effect.fnUntraced(function* (
  subject: Subject,
  limits: { readonly near?: Partial<TransportLimits>; readonly far?: Partial<TransportLimits> } = {}
) {
  const [dialler, listener] = yield* Effect.all([build(subject.layer(limits.near)), build(subject.layer(limits.far))])
  const [near, far] = yield* Effect.all([dialler.dial(listener.address), listener.accept], { concurrency: 2 })
  return { near, far, dialler, listener }
})
