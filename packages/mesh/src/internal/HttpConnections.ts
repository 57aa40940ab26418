/**
 * The TCP connections of a WebTransport listener, from before their TLS handshake on: how many there are at most, and
 * how long one may carry no session. Bun 1.4.4 counts nothing that HTTP/2 reads or writes as use of a socket, so that
 * its own timeouts end live ones too.
 */

/** Longest time without a session: a dial takes less, and a session whose peer is silent is given up in two seconds. */
const bareMsMax = 10_000

/** The part of a socket that is used here. */
export interface ConnectionSocket {
  readonly remoteAddress?: string | undefined
  readonly remotePort?: number | undefined
  readonly destroy: () => unknown
  readonly on: (event: "close" | "error", told: () => void) => unknown
}

interface Connection {
  readonly socket: ConnectionSocket
  sessions: number
  deadline: ReturnType<typeof setTimeout> | undefined
  isClosed: boolean
}

/** Represents the connections of one listener. */
export class HttpConnections {
  readonly #connectionsMax: number
  readonly #bareMs: number
  /** By the address of the other side, as the package writes it. */
  readonly #connections = new Map<string, Connection>()

  /** Makes room for `connectionsMax`; one without a session is closed after `bareMs`. */
  constructor(connectionsMax: number, bareMs = bareMsMax) {
    this.#connectionsMax = connectionsMax
    this.#bareMs = bareMs
  }

  /** Keeps a connection that was accepted, or destroys it where there is no room. */
  accepted(socket: ConnectionSocket): void {
    if (this.#connections.size >= this.#connectionsMax) {
      socket.destroy()
      return
    }
    const address = `${socket.remoteAddress}:${socket.remotePort}`
    const connection: Connection = { socket, sessions: 0, deadline: undefined, isClosed: false }
    this.#connections.set(address, connection)
    socket.on("close", () => {
      connection.isClosed = true
      clearTimeout(connection.deadline)
      if (this.#connections.get(address) === connection) this.#connections.delete(address)
    })
    socket.on("error", () => {})
    this.#awaitSession(connection)
  }

  /** Notes that the connection from `address` carries a session until `over`, which never rejects. */
  carries(address: string, over: Promise<void>): void {
    const connection = this.#connections.get(address)
    // Sessions over HTTP/3 have none.
    if (connection === undefined) return
    clearTimeout(connection.deadline)
    connection.sessions++
    void over.then(() => {
      connection.sessions--
      // A connection that was lost takes its sessions with it, and no timer is to keep the process.
      if (connection.sessions === 0 && !connection.isClosed) this.#awaitSession(connection)
    })
  }

  /** Destroys all. */
  close(): void {
    for (const { socket } of this.#connections.values()) socket.destroy()
  }

  #awaitSession(connection: Connection): void {
    clearTimeout(connection.deadline)
    connection.deadline = setTimeout(() => connection.socket.destroy(), this.#bareMs)
  }
}
