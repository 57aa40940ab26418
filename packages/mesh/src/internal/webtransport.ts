/**
 * Adapts `@fails-components/webtransport` 1.6.8 to `RawSession`. Quirks it hides: a missing HTTP/3 add-on is reported
 * on the console at import; a session carries at most its initial window in its whole life, and keeps every stream it
 * ever had; writes above 8 KiB lose their tail in browsers; reset codes have 8 bits, so resets travel as records inside
 * the stream; a lost connection closes with codes of HTTP/2.
 */
import type { ClientHttp2Session, Http2SecureServer } from "node:http2"
import type { Socket } from "node:net"
import { connect as connectTls, type TLSSocket } from "node:tls"
import { type CertificateKeyPair, sha256 } from "../Certificate.ts"
import { RecordKind } from "../StreamRecords.ts"
import { HttpConnections } from "./HttpConnections.ts"
import type { RawClose, RawSession, RawSessionEvents, RawStream, RawStreamEvents } from "./RawSession.ts"

/** Path of the mesh on a server that may serve pages too. */
export const path = "/weft"

/** Longest single write: longer ones lose their last bytes on the way to Chromium. */
const writeBytesMax = 8 * 1024

/** Bytes a stream may have waiting for the package before its writer is held back: a few of our own batches. */
const queuedBytesMax = 128 * 1024

/** Room for several full credit windows, so that the package's own window never holds a writer back. */
const streamWindowBytes = 1024 * 1024

/** Largest window its settings can carry. It is never renewed, so it bounds what a session carries in its life. */
const sessionWindowBytes = 0xffff_ffff

/** Leaves half a gigabyte of that for what moves between two looks at the counter. */
const sessionBytesMax = 3.5 * 1024 ** 3

/** Streams after which a session is over: the package keeps about 9 KiB (measured) of each until the session ends. */
const sessionStreamsMax = 8_192

/** Close codes are shifted on the wire: below it stand the codes of HTTP/2 and of the package for lost connections. */
const codeShift = 0x1_0000

interface WebStream {
  readonly readable: ReadableStream<Uint8Array>
  readonly writable: WritableStream<Uint8Array>
}

/** The part of the package's sessions that is used here, the same on both sides. */
interface WebSession {
  readonly ready: Promise<void>
  readonly closed: Promise<{ readonly closeCode?: number; readonly reason?: string }>
  readonly incomingBidirectionalStreams: ReadableStream<WebStream>
  readonly datagrams: {
    readonly readable: ReadableStream<Uint8Array>
    readonly createWritable: () => WritableStream<Uint8Array>
    readonly maxDatagramSize?: number
  }
  readonly createBidirectionalStream: (options: { readonly waitUntilAvailable: boolean }) => Promise<WebStream>
  readonly close: (info: { readonly closeCode: number; readonly reason: string }) => void
  readonly peerAddress?: string
  /** The client's own parts; the HTTP/2 connection is where its certificate can be seen. */
  readonly sessionint?: { readonly parentobj?: { readonly transportInt?: { readonly clientInt?: ClientHttp2Session } } }
}

interface WebServer {
  readonly ready: Promise<void>
  readonly startServer: () => void
  readonly stopServer: () => void
  readonly address: () => { readonly port: number } | null
  readonly sessionStream: (path: string) => ReadableStream<WebSession>
  readonly transportInt?: { readonly serverInt?: Http2SecureServer }
}

interface Package {
  readonly HttpServer: new (options: Record<string, unknown>) => WebServer
  readonly WebTransport: new (url: string, options: Record<string, unknown>) => WebSession
  readonly quicheLoaded: Promise<unknown>
}

const ignore = (): void => {}

const addOn = "@fails-components/webtransport-transport-http3-quiche"
const noise = /http3.quiche|http3 loader/

/** Runs `body` while lines about the missing add-on are kept from the console; all others pass. */
const withoutNoise = async <A>(body: () => Promise<A>): Promise<A> => {
  const { error, log } = console
  const quiet =
    (print: (...words: ReadonlyArray<unknown>) => void) =>
    (...words: ReadonlyArray<unknown>): void =>
      noise.test(String(words[0])) ? undefined : print(...words)
  console.error = quiet(error)
  console.log = quiet(log)
  const result = await body()
  console.error = error
  console.log = log
  return result
}

/** Loads a package that has no types which a program without its browser library could check, as seen from here. */
const importHere = async (name: string): Promise<unknown> => import(Bun.resolveSync(name, import.meta.dir))

const load = async (): Promise<{ readonly web: Package; readonly hasHttp3: boolean }> => {
  const hasHttp3 = await importHere(addOn).then(
    () => true,
    () => false
  )
  const web = await withoutNoise(async () => {
    // See Package: the parts in use.
    const loaded = (await importHere("@fails-components/webtransport")) as Package
    await loaded.quicheLoaded
    // The server's half of the package looks for the add-on by itself and reports a turn later.
    await new Promise((resolve) => setTimeout(resolve, 0))
    return loaded
  })
  return { web, hasHttp3 }
}

let loading: ReturnType<typeof load> | undefined
const loaded = (): ReturnType<typeof load> => {
  loading ??= load()
  return loading
}

const windows = {
  initialStreamFlowControlWindow: streamWindowBytes,
  streamFlowControlWindowSizeLimit: streamWindowBytes,
  initialSessionFlowControlWindow: sessionWindowBytes,
  sessionFlowControlWindowSizeLimit: sessionWindowBytes,
  // For the session's whole life, as ended streams are not given back; live ones are bounded by `Session`.
  initialBidirectionalStreams: 2 * sessionStreamsMax,
  initialBidirectionalSendStreams: 2 * sessionStreamsMax
}

class WebRawStream implements RawStream {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>
  #events: RawStreamEvents | undefined
  readonly #queue: Array<Uint8Array> = []
  #queuedBytes = 0
  #draining = false
  #refused = false
  #ending = false
  #resetting = false
  #dead = false

  constructor(stream: WebStream) {
    this.#reader = stream.readable.getReader()
    this.#writer = stream.writable.getWriter()
    this.#reader.closed.catch(ignore)
    this.#writer.closed.catch(ignore)
  }

  readonly listen = (events: RawStreamEvents): void => {
    this.#events = events
    this.#pump(events).then(events.cut, events.cut)
  }

  readonly write = (bytes: Uint8Array): boolean => {
    if (this.#dead || this.#ending) return false
    if (this.#queuedBytes >= queuedBytesMax) {
      this.#refused = true
      return false
    }
    this.#enqueue(bytes)
    return true
  }

  readonly end = (): void => {
    this.#ending = true
    this.#drain()
  }

  readonly reset = (code: number): void => {
    if (this.#ending) return
    const record = new Uint8Array(8)
    const view = new DataView(record.buffer)
    view.setUint32(0, RecordKind.reset)
    view.setUint32(4, code)
    this.#queue.length = 0
    this.#ending = true
    this.#resetting = true
    this.#enqueue(record)
  }

  async #pump(events: RawStreamEvents): Promise<void> {
    for (;;) {
      const { value, done } = await this.#reader.read()
      if (done) return
      if (value.length > 0) events.data(value)
    }
  }

  #enqueue(bytes: Uint8Array): void {
    this.#queue.push(bytes)
    this.#queuedBytes += bytes.length
    this.#drain()
  }

  #drain(): void {
    if (this.#draining || this.#dead) return
    this.#draining = true
    this.#flush().then(
      () => {
        this.#draining = false
      },
      () => {
        this.#dead = true
      }
    )
  }

  async #flush(): Promise<void> {
    for (let bytes = this.#queue.shift(); bytes !== undefined; bytes = this.#queue.shift()) {
      for (let at = 0; at < bytes.length; at += writeBytesMax) {
        await this.#writer.write(bytes.subarray(at, at + writeBytesMax))
      }
      this.#queuedBytes -= bytes.length
      if (this.#refused && this.#queuedBytes < queuedBytesMax / 2) {
        this.#refused = false
        this.#events?.writable()
      }
    }
    if (!this.#ending) return
    await this.#writer.close()
    if (this.#resetting) await this.#reader.cancel()
  }
}

class WebRawSession implements RawSession {
  readonly remoteAddress: string
  readonly serverCertificateSha256: Uint8Array
  readonly lifetime = { bytesMax: sessionBytesMax, streamsMax: sessionStreamsMax }
  /** Resolves when it has ended or was left. */
  readonly over: Promise<void>
  readonly #session: WebSession
  readonly #datagramWriter: WritableStreamDefaultWriter<Uint8Array>
  readonly #leave: () => void
  #left = false

  constructor(session: WebSession, remoteAddress: string, serverCertificateSha256: Uint8Array) {
    this.#session = session
    this.remoteAddress = remoteAddress
    this.serverCertificateSha256 = serverCertificateSha256
    const { promise, resolve } = Promise.withResolvers<void>()
    this.over = promise
    this.#leave = resolve
    session.closed.then(
      () => resolve(),
      () => resolve()
    )
    this.#datagramWriter = session.datagrams.createWritable().getWriter()
    this.#datagramWriter.closed.catch(ignore)
  }

  get datagrams(): RawSession["datagrams"] {
    return {
      // What fits QUIC's datagrams everywhere, so that programs behave the same over HTTP/2, which has no such bound.
      sizeBytesMax: Math.min(this.#session.datagrams.maxDatagramSize ?? 0, 1150) || 1150,
      send: (bytes) => void this.#datagramWriter.write(bytes).catch(ignore)
    }
  }

  readonly listen = (events: RawSessionEvents): void => {
    each(this.#session.incomingBidirectionalStreams, (stream) => events.stream(new WebRawStream(stream)))
    each(this.#session.datagrams.readable, events.datagram)
    const closed = (why: RawClose): void => (this.#left ? undefined : events.closed(why))
    this.#session.closed.then(
      ({ closeCode = 0, reason = "" }) =>
        closed(
          closeCode < codeShift
            ? { kind: "lost", cause: reason }
            : { kind: "left", code: closeCode - codeShift, reason }
        ),
      (cause: unknown) => closed({ kind: "lost", cause })
    )
  }

  readonly open = async (): Promise<RawStream> =>
    new WebRawStream(await this.#session.createBidirectionalStream({ waitUntilAvailable: true }))

  readonly close = (code: number, reason: string): void => {
    this.#left = true
    this.#leave()
    this.#session.close({ closeCode: code + codeShift, reason })
  }

  readonly stats = () => ({})
}

/** Calls back for every element; the end of the stream, clean or not, is told elsewhere. */
const each = <A>(stream: ReadableStream<A>, use: (value: A) => void): void => {
  const reader = stream.getReader()
  const next = (): void => {
    reader.read().then(({ value, done }) => {
      if (done) return
      use(value)
      next()
    }, ignore)
  }
  next()
}

/** Represents what a listener is made of. */
export interface ListenOptions {
  readonly host: string
  readonly port: number
  readonly certificate: CertificateKeyPair
  readonly socketsMax: number
}

/** Listens on HTTP/2, and on HTTP/3 where the add-on is there; rejects when the address is taken. */
export const listen = async (
  options: ListenOptions,
  onSession: (raw: RawSession) => void
): Promise<{ readonly port: number; readonly close: () => void }> => {
  const { web, hasHttp3 } = await loaded()
  const { certificate, host, port } = options
  const server = new web.HttpServer({
    host,
    port,
    secret: crypto.randomUUID(),
    cert: certificate.certPem,
    privKey: certificate.keyPem,
    reliability: hasHttp3 ? "both" : "reliableOnly",
    ...windows
  })
  const sessions = server.sessionStream(path)
  server.startServer()
  await server.ready
  const connections = new HttpConnections(options.socketsMax)
  server.transportInt?.serverInt?.on("connection", (socket: Socket) => connections.accepted(socket))
  each(sessions, (session) => {
    const raw = new WebRawSession(session, session.peerAddress ?? "unknown", certificate.sha256)
    connections.carries(raw.remoteAddress, raw.over)
    session.ready.then(() => onSession(raw), ignore)
  })
  const close = (): void => {
    server.stopServer()
    connections.close()
  }
  return { port: server.address()?.port ?? port, close }
}

/** Returns the SHA-256 of the certificate that a server shows to a TLS handshake of its own. */
export const certificateOf = (host: string, port: number, signal: AbortSignal): Promise<Uint8Array> =>
  new Promise((resolve, reject) => {
    const socket = connectTls({ host, port, rejectUnauthorized: false, ALPNProtocols: ["h2"] })
    signal.addEventListener("abort", () => socket.destroy())
    socket.on("error", reject)
    socket.on("close", () => reject(new Error("the connection was closed during the handshake")))
    socket.on("secureConnect", () => {
      resolve(sha256(socket.getPeerCertificate().raw))
      socket.end()
    })
  })

/** Represents what a dial needs to know. */
export interface DialOptions {
  readonly host: string
  readonly port: number
  /** The only certificate that is accepted, SHA-256 of its DER. */
  readonly sha256: Uint8Array
}

/** Dials; resolves when the session is ready and its connection shows the pinned certificate. */
export const dial = async (options: DialOptions, signal: AbortSignal): Promise<RawSession> => {
  const { web, hasHttp3 } = await loaded()
  const address = `${options.host.includes(":") ? `[${options.host}]` : options.host}:${options.port}`
  const session = new web.WebTransport(`https://${address}${path}`, {
    serverCertificateHashes: [{ algorithm: "sha-256", value: options.sha256 }],
    forceReliable: !hasHttp3,
    ...windows
  })
  const connection = (): ClientHttp2Session | undefined => session.sessionint?.parentobj?.transportInt?.clientInt
  const giveUp = (): void => connection()?.destroy()
  signal.addEventListener("abort", giveUp)
  session.closed.catch(ignore)
  await session.ready
  signal.removeEventListener("abort", giveUp)
  // The package lets a certificate pass that some authority signed, whatever its hash: look at the connection itself.
  const socket = connection()?.socket as TLSSocket | undefined // an HTTP/2 client over https has no other kind
  const shown = socket === undefined ? options.sha256 : sha256(socket.getPeerCertificate().raw)
  if (!Buffer.from(shown).equals(options.sha256)) {
    giveUp()
    throw new Error("the server shows another certificate than the one it is pinned to")
  }
  return new WebRawSession(session, address, options.sha256)
}
