/**
 * The least HTTP/1.1 client that measures: keep-alive connections on plain sockets, bytes handed on in the turn of the
 * event loop in which they arrive, no thread or stream in between. Speaks to loopback servers of this project alone.
 */
import type { Socket } from "bun"

/** Represents the end of one exchange. */
export interface HttpEnd {
  /** 0 where the connection ended before a status came. */
  readonly status: number
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  /** The body ended as its framing said; false where the connection was cut or aborted. */
  readonly whole: boolean
}

/** Represents one request under way. */
export interface HttpExchange {
  /** Never rejects. */
  readonly end: Promise<HttpEnd>
  /** Closes the connection, as a client that leaves does. */
  readonly abort: () => void
}

/** Represents a request, and who hears of its response. */
export interface HttpPost {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly onHead?: (head: Pick<HttpEnd, "headers" | "status">) => void
  /** Gets the pieces of the body as they arrive. */
  readonly onBody: (piece: Buffer) => void
}

/** Represents the connections to one server. */
export interface HttpConnections {
  readonly post: (request: HttpPost) => HttpExchange
  /** Closes the connections that wait. */
  readonly close: () => void
}

/** Returns connections to the server at `url`, opened as they are needed and used again. */
export const make = (url: string): HttpConnections => {
  const { hostname, port } = new URL(url)
  const free: Array<Connection> = []
  return {
    post: (request) => {
      const freshMs = performance.now() - idleMsMax
      // The last is the youngest: with it all others are too old.
      if ((free.at(-1)?.freeSinceMs ?? Number.NaN) < freshMs) for (const old of free.splice(0)) old.abort()
      const connection = free.pop() ?? new Connection(hostname, Number(port), free)
      return connection.exchange(write(request, `${hostname}:${port}`), request)
    },
    close: () => {
      for (const connection of free.splice(0)) connection.abort()
    }
  }
}

// internal

/**
 * A connection that waited longer is not used again: the entry closes it after 30 s, and a request that meets the close
 * is lost. Other clients have such a bound too.
 */
const idleMsMax = 10_000

const write = ({ body, headers, path }: HttpPost, host: string): string => {
  const own = { host, "content-length": String(Buffer.byteLength(body)), "content-type": "application/json" }
  const lines = Object.entries({ ...own, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
  return `POST ${path} HTTP/1.1\r\n${lines.join("")}\r\n${body}`
}

/** How the rest of a body is framed: bytes left, a chunked body's bytes left of this chunk, or up to the end. */
type Framing =
  | { readonly kind: "length"; left: number }
  | { readonly kind: "chunked"; left: number; state: "size" | "data" | "trailer" }

class Connection {
  #socket: Socket | undefined
  /** When its last exchange ended. */
  freeSinceMs = 0
  #closed = false
  /** What was received and not yet understood. */
  #pending: Buffer = Buffer.alloc(0)
  #head: Pick<HttpEnd, "headers" | "status"> | undefined
  #framing: Framing | undefined
  #outgoing: string | undefined
  #listener: Pick<HttpPost, "onBody" | "onHead"> | undefined
  #settle: ((end: HttpEnd) => void) | undefined

  constructor(
    hostname: string,
    port: number,
    private readonly free: Array<Connection>
  ) {
    const handlers = {
      open: (socket: Socket) => {
        this.#socket = socket
        if (this.#closed) socket.terminate()
        else this.#flush()
      },
      data: (_: Socket, bytes: Buffer) => this.#receive(bytes),
      drain: () => this.#flush(),
      close: () => this.#onClose(),
      error: () => this.#onClose()
    }
    Bun.connect({ hostname, port, socket: handlers }).catch(() => this.#onClose())
  }

  exchange(request: string, listener: Pick<HttpPost, "onBody" | "onHead">): HttpExchange {
    const { promise, resolve } = Promise.withResolvers<HttpEnd>()
    this.#head = undefined
    this.#framing = undefined
    this.#listener = listener
    this.#settle = resolve
    this.#outgoing = request
    this.#flush()
    if (this.#closed) this.#end(false)
    return { end: promise, abort: () => this.abort() }
  }

  abort(): void {
    this.#closed = true
    this.#socket?.terminate()
    this.#end(false)
  }

  #flush(): void {
    if (this.#socket === undefined || this.#outgoing === undefined) return
    const bytes = Buffer.from(this.#outgoing)
    const written = this.#socket.write(bytes)
    this.#outgoing = written < bytes.length ? bytes.subarray(Math.max(0, written)).toString() : undefined
  }

  #onClose(): void {
    this.#closed = true
    const index = this.free.indexOf(this)
    if (index >= 0) this.free.splice(index, 1)
    this.#end(false)
  }

  #end(whole: boolean): void {
    const settle = this.#settle
    if (settle === undefined) return
    this.#settle = undefined
    this.freeSinceMs = performance.now()
    if (whole && !this.#closed && this.#head?.headers["connection"] !== "close") this.free.push(this)
    settle({ status: this.#head?.status ?? 0, headers: this.#head?.headers ?? {}, whole })
  }

  #receive(bytes: Buffer): void {
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes])
    if (this.#head === undefined && !this.#readHead()) return
    if (this.#readBody()) this.#end(true)
    // The received bytes belong to the socket; what is kept is copied.
    this.#pending = Buffer.from(this.#pending)
  }

  #readHead(): boolean {
    const at = this.#pending.indexOf("\r\n\r\n")
    if (at < 0) return false
    const [first = "", ...lines] = this.#pending.toString("latin1", 0, at).split("\r\n")
    const headers = Object.fromEntries(
      lines.map((line) => {
        const colon = line.indexOf(":")
        return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
      })
    )
    this.#head = { status: Number(first.split(" ")[1] ?? 0), headers }
    this.#listener?.onHead?.(this.#head)
    this.#framing =
      headers["transfer-encoding"] === "chunked"
        ? { kind: "chunked", left: 0, state: "size" }
        : { kind: "length", left: Number(headers["content-length"] ?? 0) }
    this.#pending = this.#pending.subarray(at + 4)
    return true
  }

  /** Hands on what has come; true when the body has ended. */
  #readBody(): boolean {
    const framing = this.#framing
    if (framing === undefined) return false
    if (framing.kind === "length") {
      this.#hand(framing)
      return framing.left === 0
    }
    while (true) {
      if (framing.state === "data") {
        this.#hand(framing)
        if (framing.left > 0 || this.#pending.length < 2) return false
        this.#pending = this.#pending.subarray(2)
        framing.state = "size"
      }
      const at = this.#pending.indexOf("\r\n")
      if (at < 0) return false
      const line = this.#pending.toString("latin1", 0, at)
      this.#pending = this.#pending.subarray(at + 2)
      if (framing.state === "trailer") {
        if (line === "") return true
        continue
      }
      framing.left = Number.parseInt(line, 16)
      framing.state = framing.left === 0 ? "trailer" : "data"
    }
  }

  #hand(framing: Framing): void {
    const piece = this.#pending.subarray(0, framing.left)
    if (piece.length === 0) return
    framing.left -= piece.length
    this.#pending = this.#pending.subarray(piece.length)
    this.#listener?.onBody(piece)
  }
}
