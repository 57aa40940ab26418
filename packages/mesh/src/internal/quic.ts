/**
 * Adapts Bun's `node:quic` (1.4.4) to `RawSession`. Quirks it hides: `maxIdleTimeout` counts seconds; `writeSync`
 * takes any size while its buffer is not full, and `write` never waits; drains do not report a stop; a bind failure
 * shows only in `endpoint.closed`; a close with code 0 arrives as a transport error; a killed process reads as a clean
 * end.
 */
import { createPrivateKey } from "node:crypto"
import type * as Quic from "node:quic"
import { type CertificateKeyPair, sha256 } from "../Certificate.ts"
import {
  NoStreamFree,
  type RawClose,
  type RawSession,
  type RawSessionEvents,
  type RawStats,
  type RawStream,
  type RawStreamEvents
} from "./RawSession.ts"
import { StreamAllowance } from "./StreamAllowance.ts"

/** Loads the module without its warning of being experimental: Bun's version is pinned and its quirks are tested. */
const load = (): typeof Quic => {
  const { emitWarning } = process
  process.emitWarning = () => {}
  const loaded = process.getBuiltinModule("node:quic")
  process.emitWarning = emitWarning
  if (loaded === undefined) throw new Error("this Bun has no node:quic: install Bun 1.4.4 or newer")
  return loaded
}

const quic = load()

const alpn = "weft/1"

/** Our own liveness notices a dead side within 2 s; this only cleans up when our loop is gone. In seconds. */
const idleSecondsMax = 30

/** Holds the widest credit window and its records' headers: QUIC's window is never what holds a writer back. */
const streamWindowBytes = 9 * 1024 * 1024

/** Two streams with the widest window in flight at once, or 64 with a plain one; beyond that they share. */
const sessionWindowBytes = 18 * 1024 * 1024

/** Largest datagram that fits every path's 1200-byte packets; Bun itself reports 1150 here. */
const datagramFrameBytesMax = 1200

/**
 * On the wire every code is shifted: Bun reports a session's code 0 as a transport error, and resets the streams of a
 * session that leaves with code 0.
 */
const codeShift = 1n

const drainable = Symbol.for("Stream.drainableProtocol")

/** The part of the stream's writer that Bun has and `@types/node` cannot name. */
interface Writer {
  readonly desiredSize: number | null
  readonly writeSync: (bytes: Uint8Array) => boolean
  readonly end: () => Promise<unknown>
  readonly fail: (reason: unknown) => void
  readonly [drainable]: () => Promise<boolean> | null
}

const ignore = (): void => {}

class QuicRawStream implements RawStream {
  readonly #stream: Quic.QuicStream
  readonly #writer: Writer
  #events: RawStreamEvents | undefined
  #draining = false

  constructor(stream: Quic.QuicStream) {
    this.#stream = stream
    // The types know the writer of node:stream/iter only; `Writer` above is what Bun's object has.
    this.#writer = stream.writer as unknown as Writer
    stream.closed.catch(ignore)
  }

  readonly listen = (events: RawStreamEvents): void => {
    this.#events = events
    let over = false
    const ended = (wireCode: bigint): void => {
      if (over) return
      over = true
      if (wireCode < codeShift) events.cut()
      else events.reset(Number(wireCode - codeShift))
    }
    this.#stream.onreset = (error: { readonly errorCode?: bigint }) => ended(error.errorCode ?? 0n)
    this.#pump(events).then(
      () => ended(0n),
      (error: unknown) => ended(wireCodeOf(error))
    )
  }

  readonly write = (bytes: Uint8Array): boolean => {
    if (this.#writer.writeSync(bytes)) return true
    this.#awaitDrain()
    return false
  }

  readonly end = (): void => void this.#writer.end().catch(ignore)

  readonly reset = (code: number): void => {
    const errorCode = BigInt(code) + codeShift
    this.#writer.fail(new quic.QuicError("reset", { errorCode }))
    this.#stream.destroy(undefined, { code: errorCode })
  }

  async #pump(events: RawStreamEvents): Promise<void> {
    for await (const batch of this.#stream) for (const bytes of batch) if (bytes.length > 0) events.data(bytes)
  }

  #awaitDrain(): void {
    if (this.#draining || this.#writer.desiredSize === null) return
    this.#draining = true
    const again = (): void => {
      this.#draining = false
      this.#events?.writable()
    }
    const drained = this.#writer[drainable]()
    if (drained === null) queueMicrotask(again)
    else drained.then(again, ignore)
  }
}

/** A read rejects before `onreset` is called, and its error has the code in its message only. */
const wireCodeOf = (error: unknown): bigint =>
  BigInt(/error code (\d+)/.exec(error instanceof Error ? error.message : "")?.[1] ?? 0)

const millis = (nanoseconds: bigint): number => Number(nanoseconds) / 1e6

/** Figures that Bun's session counts beyond Node's types. */
interface PacketStats {
  readonly pktSent: bigint
  readonly pktRecv: bigint
  readonly pktLost: bigint
}

const remoteOf = (session: Quic.QuicSession): string => {
  const remote = session.path?.remote
  return remote === undefined ? "unknown" : formatAddress(remote.address, remote.port)
}

/** A session of Bun's QUIC; made in the turn it appears in, so that no stream is missed. */
class QuicRawSession implements RawSession {
  /** Ours when accepted; when dialled, known with the end of the handshake. */
  serverCertificateSha256: Uint8Array
  readonly #session: Quic.QuicSession
  readonly #early: Array<Quic.QuicStream> = []
  /** There on the accepting side. */
  readonly #allowance: StreamAllowance | undefined
  #events: RawSessionEvents | undefined
  #over: RawClose | undefined
  #left = false
  #address: string | undefined
  /** As they were last: counters never fall back. */
  #stats: RawStats = {}

  constructor(session: Quic.QuicSession, serverCertificateSha256: Uint8Array, isAccepted: boolean) {
    this.#session = session
    this.#allowance = isAccepted ? new StreamAllowance() : undefined
    this.serverCertificateSha256 = serverCertificateSha256
    session.onerror = ignore
    session.onstream = (stream) => {
      if (this.#events === undefined) this.#early.push(stream)
      else this.#events.stream(new QuicRawStream(stream))
    }
    session.ondatagram = (bytes) => this.#events?.datagram(bytes)
    // The address follows the path: Bun leaves `session.path` of a server as it was (NAT rebinding).
    session.onpathvalidation = (result, _local, remote) => {
      if (result === "success") this.#address = formatAddress(remote.address, remote.port)
    }
    session.closed.then(
      () => this.#closed({ kind: "lost", cause: "idle timeout" }),
      (cause: unknown) => this.#closed(closeOf(cause))
    )
  }

  get remoteAddress(): string {
    this.#address ??= remoteOf(this.#session)
    return this.#address
  }

  get datagrams(): RawSession["datagrams"] {
    const sizeBytesMax = this.#session.maxDatagramSize
    if (sizeBytesMax <= 0) return undefined
    const send = (bytes: Uint8Array): void => void this.#session.sendDatagram(bytes).catch(ignore)
    return { sizeBytesMax, send }
  }

  readonly listen = (events: RawSessionEvents): void => {
    this.#events = events
    for (const stream of this.#early.splice(0)) events.stream(new QuicRawStream(stream))
    if (this.#over !== undefined) events.closed(this.#over)
  }

  readonly open = async (): Promise<RawStream> => {
    if (this.#allowance?.take(performance.now()) === false) throw new NoStreamFree()
    const ended = (): void => this.#allowance?.ended(performance.now())
    const opening = this.#session.createBidirectionalStream()
    opening.catch(ended)
    const stream = await opening
    stream.closed.then(ended, ended)
    return new QuicRawStream(stream)
  }

  readonly close = (code: number, reason: string): void => {
    this.#left = true
    if (this.#session.destroyed) return
    this.#session.destroy(undefined, { code: BigInt(code) + codeShift, type: "application", reason })
  }

  readonly stats = (): RawStats => {
    if (this.#session.destroyed) return this.#stats
    // Bun's own counters, see PacketStats.
    const stats = this.#session.stats as unknown as Quic.QuicSession.Stats & PacketStats
    this.#stats = {
      ...(stats.smoothedRtt > 0n ? { rttMs: millis(stats.smoothedRtt) } : {}),
      bytesSent: Number(stats.bytesSent),
      bytesReceived: Number(stats.bytesReceived),
      packetsSent: Number(stats.pktSent),
      packetsReceived: Number(stats.pktRecv),
      packetsLost: Number(stats.pktLost)
    }
    return this.#stats
  }

  #closed(why: RawClose): void {
    if (this.#left || this.#over !== undefined) return
    this.#over = why
    this.#events?.closed(why)
  }
}

const closeOf = (cause: unknown): RawClose => {
  // Bun's QuicError: `errorCode` and `type` as in Node's class, plus the peer's `reason`.
  const error = cause as { readonly errorCode?: bigint; readonly type?: string; readonly reason?: string } | undefined
  if (error?.type !== "application" || error.errorCode === undefined) return { kind: "lost", cause }
  return { kind: "left", code: Number(error.errorCode - codeShift), reason: error.reason ?? "" }
}

/** Returns `HOST:PORT`, with brackets around an IPv6 host. */
export const formatAddress = (host: string, port: number): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`

/** Represents what an endpoint is made of. */
export interface EndpointOptions {
  readonly host: string
  readonly port: number
  readonly certificate: CertificateKeyPair
  readonly streamsMax: number
  readonly sessionsMax: number
  readonly handshakeTimeoutMs: number
}

const sessionOptions = (options: EndpointOptions) => ({
  transportParams: {
    maxIdleTimeout: idleSecondsMax,
    initialMaxStreamDataBidiLocal: streamWindowBytes,
    initialMaxStreamDataBidiRemote: streamWindowBytes,
    initialMaxData: sessionWindowBytes,
    // Above ours: the session answers beyond its bound with a reset, which tells more than a stream that never opens.
    initialMaxStreamsBidi: 2 * options.streamsMax + 128,
    initialMaxStreamsUni: 0,
    maxDatagramFrameSize: datagramFrameBytesMax
  },
  handshakeTimeout: options.handshakeTimeoutMs
})

/** Opens the UDP port that both listens and dials; rejects when the address is taken. */
export const listen = async (
  options: EndpointOptions,
  onSession: (raw: RawSession) => void
): Promise<Quic.QuicEndpoint> => {
  const { certificate } = options
  const announced = (session: Quic.QuicSession): void => {
    const raw = new QuicRawSession(session, certificate.sha256, true)
    session.opened.then(() => onSession(raw), ignore)
  }
  const endpoint = await quic.listen(announced, {
    ...sessionOptions(options),
    endpoint: { address: formatAddress(options.host, options.port), maxConnectionsTotal: options.sessionsMax },
    sni: {
      "*": { keys: [createPrivateKey(certificate.keyPem)], certs: [new TextEncoder().encode(certificate.certPem)] }
    },
    alpn: [alpn]
  })
  // A failed bind closes the endpoint in the same turn; `closed` rejects with the reason.
  if (endpoint.destroyed) await endpoint.closed
  else endpoint.closed.catch(ignore)
  return endpoint
}

/**
 * Dials from the shared endpoint; resolves when the handshake is done. The certificate is for the caller to judge. A
 * session whose dial is given up is destroyed.
 */
export const dial = async (
  endpoint: Quic.QuicEndpoint,
  address: string,
  options: EndpointOptions,
  signal: AbortSignal
): Promise<RawSession> => {
  const session = await quic.connect(address, {
    ...sessionOptions(options),
    endpoint,
    alpn,
    servername: "weft",
    verifyPeer: "manual"
  })
  const raw = new QuicRawSession(session, new Uint8Array(0), false)
  const giveUp = (): void => session.destroy()
  signal.addEventListener("abort", giveUp)
  if (signal.aborted) giveUp()
  await session.opened
  signal.removeEventListener("abort", giveUp)
  const certificate = session.peerCertificate
  if (certificate === undefined) {
    giveUp()
    throw new Error("the server shows no certificate")
  }
  raw.serverCertificateSha256 = sha256(certificate.raw)
  return raw
}
