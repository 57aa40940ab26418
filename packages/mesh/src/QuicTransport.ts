/**
 * The `Transport` layer over Bun's built-in QUIC: one UDP port listens and dials, so every remote sees the same source
 * port. Sessions come in from the endpoint's callback, wait for their handshake, and go to `accept` through a bounded
 * mailbox. The layer's scope owns the port and all sessions.
 */
import { Duration, Effect, Layer } from "effect"
import { Certificate } from "./Certificate.ts"
import * as quic from "./internal/quic.ts"
import type { RawSession } from "./internal/RawSession.ts"
import * as transportLayer from "./internal/transportLayer.ts"
import { SessionError } from "./MeshError.ts"
import { Transport } from "./Transport.ts"
import { defaults, type TransportLimits } from "./TransportLimits.ts"

/** Represents where a QUIC transport listens and what it may hold. */
export interface QuicTransportOptions {
  /** Address to bind, e.g. `127.0.0.1` or `0.0.0.0`. */
  readonly host: string
  /** UDP port, 0 for any. */
  readonly port: number
  readonly limits?: Partial<TransportLimits>
}

/** The goodbyes leave within this time; destroying the port at once would swallow them. */
const goodbyeGrace = Duration.millis(20)

/** Parts of an address `quic://HOST:PORT`; anything else is refused before it reaches the socket. */
const addressPattern = /^quic:\/\/((?:[^\s/:]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5})$/

const listen = (options: QuicTransportOptions, settings: quic.EndpointOptions, onSession: (raw: RawSession) => void) =>
  Effect.acquireRelease(
    Effect.tryPromise({
      try: () => quic.listen(settings, onSession),
      catch: (cause) =>
        new SessionError({ reason: "ListenFailed", address: quic.formatAddress(options.host, options.port), cause })
    }),
    (endpoint) =>
      Effect.zipRight(
        Effect.sleep(goodbyeGrace),
        Effect.sync(() => endpoint.destroy())
      )
  ).pipe(
    Effect.map((endpoint) => ({
      address: `quic://${quic.formatAddress(options.host, endpoint.address?.port ?? options.port)}`,
      dial: (address: string) => {
        const to = addressPattern.exec(address)?.[1]
        if (to === undefined) return new SessionError({ reason: "DialFailed", address, cause: "not quic://HOST:PORT" })
        return Effect.tryPromise({
          try: (signal) => quic.dial(endpoint, to, settings, signal),
          catch: (cause) => new SessionError({ reason: "DialFailed", address, cause })
        })
      }
    }))
  )

const make = Effect.fnUntraced(function* (options: QuicTransportOptions) {
  const limits = { ...defaults, ...options.limits }
  const settings: quic.EndpointOptions = {
    host: options.host,
    port: options.port,
    certificate: yield* Certificate,
    streamsMax: limits.streamsMax,
    sessionsMax: limits.sessionsMax,
    handshakeTimeoutMs: Duration.toMillis(limits.dialTimeout)
  }
  return yield* transportLayer.make(
    { layer: "quic", scheme: "quic", listen: (onSession) => listen(options, settings, onSession) },
    limits
  )
})

/** Provides the transport over QUIC; fails with `ListenFailed` when the port is taken. */
export const layer = (options: QuicTransportOptions): Layer.Layer<Transport, SessionError, Certificate> =>
  Layer.scoped(Transport, make(options))
