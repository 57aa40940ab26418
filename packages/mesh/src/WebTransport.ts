/**
 * The `Transport` layer over WebTransport: the way in for browsers and for networks that block UDP. HTTP/3 where the
 * optional add-on is installed, HTTP/2 over TLS otherwise. Addresses are `https://HOST:PORT/weft`, with `#sha256=HEX`
 * behind it where the certificate is known beforehand; without it, the dialling side learns the certificate from a TLS
 * handshake of its own and pins the session to it, so the hash that `Hello` signs is the one this session runs on.
 */
import { Effect, Layer } from "effect"
import { Certificate } from "./Certificate.ts"
import type { RawSession } from "./internal/RawSession.ts"
import * as transportLayer from "./internal/transportLayer.ts"
import * as web from "./internal/webtransport.ts"
import { SessionError } from "./MeshError.ts"
import { Transport } from "./Transport.ts"
import { defaults, type TransportLimits } from "./TransportLimits.ts"

/** Represents where a WebTransport listens and what it may hold. */
export interface WebTransportOptions {
  /** Address to bind, e.g. `127.0.0.1` or `0.0.0.0`. */
  readonly host: string
  /** TCP port (and UDP port, with HTTP/3), 0 for any. */
  readonly port: number
  readonly limits?: Partial<TransportLimits>
}

/** Host, port and pinned certificate of an address. */
const addressPattern =
  /^https:\/\/(?:([^\s/:[\]#]+)|\[([0-9a-fA-F:.]+)\]):([0-9]{1,5})\/weft(?:#sha256=([0-9a-fA-F]{64}))?$/

/** The goodbyes leave within this time; destroying the sockets at once would swallow them. */
const goodbyeGraceMs = 20

const dial = (address: string): Effect.Effect<RawSession, SessionError> => {
  const failed = (cause: unknown) => new SessionError({ reason: "DialFailed", address, cause })
  const [, name, ipv6, portDigits, pinned] = addressPattern.exec(address) ?? []
  const host = name ?? ipv6
  if (host === undefined) return failed("not https://HOST:PORT/weft")
  const port = Number(portDigits)
  const certificate =
    pinned === undefined
      ? Effect.tryPromise({ try: (signal) => web.certificateOf(host, port, signal), catch: failed })
      : Effect.succeed(Uint8Array.fromHex(pinned))
  return Effect.flatMap(certificate, (sha256) =>
    Effect.tryPromise({ try: (signal) => web.dial({ host, port, sha256 }, signal), catch: failed })
  )
}

const make = Effect.fnUntraced(function* (options: WebTransportOptions) {
  const limits = { ...defaults, ...options.limits }
  const certificate = yield* Certificate
  const { host, port } = options
  const written = host.includes(":") ? `[${host}]` : host
  const listen = (onSession: (raw: RawSession) => void) =>
    Effect.acquireRelease(
      Effect.tryPromise({
        try: () => web.listen({ host, port, certificate, socketsMax: 2 * limits.sessionsMax }, onSession),
        catch: (cause) => new SessionError({ reason: "ListenFailed", address: `${written}:${port}`, cause })
      }),
      (server) => Effect.zipRight(Effect.sleep(goodbyeGraceMs), Effect.sync(server.close))
    ).pipe(
      Effect.map((server) => ({
        address: `https://${written}:${server.port}${web.path}`,
        dial
      }))
    )
  return yield* transportLayer.make({ layer: "webtransport", scheme: "https", listen }, limits)
})

/** Provides the transport over WebTransport; fails with `ListenFailed` when the port is taken. */
export const layer = (options: WebTransportOptions): Layer.Layer<Transport, SessionError, Certificate> =>
  Layer.scoped(Transport, make(options))
