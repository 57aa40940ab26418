/**
 * The sockets of one TCP proxy: a front that clients connect to, and a connection to the target for each of theirs.
 * Owned by `TcpProxy.ts`. Bytes flow client → lane up → target, and back through lane down. A lane that is full is not
 * read from until half of it has left, so that TCP itself slows the sender down.
 */
import type { Socket, TCPSocketListener } from "bun"
import type { TcpProxyOptions } from "../TcpProxy.ts"
import { Departures } from "./Departures.ts"

/** Connections at once: a harness has a few. One too many is closed at once. */
export const connectionsMax = 64

/** Bytes that one lane holds, on their way or unread by who receives them: 1 Gbit/s for 128 ms. */
export const laneBytesMax = 16 * 1024 * 1024

/** Listens on loopback; throws when the port is taken. */
export const open = (options: TcpProxyOptions): TcpRelay => new TcpRelay(options)

/** Represents a proxy's sockets. */
export class TcpRelay {
  readonly #connections = new Map<Socket<undefined>, Connection>()
  readonly #front: TCPSocketListener<undefined>

  constructor(options: TcpProxyOptions) {
    const { hostname, port } = options.listen ?? { hostname: "127.0.0.1", port: 0 }
    this.#front = Bun.listen<undefined>({
      hostname,
      port,
      socket: {
        open: (client) => {
          if (this.#connections.size >= connectionsMax) client.terminate()
          else this.#connections.set(client, new Connection(client, options))
        },
        data: (client, bytes) => this.#connections.get(client)?.up.take(bytes),
        drain: (client) => this.#connections.get(client)?.down.flush(),
        close: (client) => {
          this.#connections.get(client)?.up.end()
          this.#connections.delete(client)
        }
      }
    })
  }

  get port(): number {
    return this.#front.port
  }

  get connections(): number {
    return this.#connections.size
  }

  close(): void {
    const connections = [...this.#connections.values()]
    // Those that close from here on have nobody to tell.
    this.#connections.clear()
    for (const connection of connections) connection.close()
    this.#front.stop(true)
  }
}

// internal

/** One client's way to the target and back; who ends it on one side ends it whole, when what was sent has arrived. */
class Connection {
  readonly up: Lane
  readonly down: Lane
  readonly #client: Socket<undefined>
  #target: Socket<undefined> | undefined
  #isClosed = false

  constructor(client: Socket<undefined>, { delayMs, to }: TcpProxyOptions) {
    client.setNoDelay(true)
    this.#client = client
    this.up = new Lane(client, delayMs)
    this.down = new Lane(undefined, delayMs)
    this.down.leadTo(client)
    const connecting = Bun.connect<undefined>({
      ...to,
      socket: {
        open: (target) => this.#reached(target),
        data: (_, bytes) => this.down.take(bytes),
        drain: () => this.up.flush(),
        close: () => this.down.end(),
        // Nobody is there: to the client it is as if the target had hung up.
        connectError: () => this.down.end()
      }
    })
    // Told to `connectError` already.
    connecting.catch(() => {})
  }

  close(): void {
    this.#isClosed = true
    this.up.close()
    this.down.close()
    this.#client.terminate()
    this.#target?.terminate()
  }

  #reached(target: Socket<undefined>): void {
    this.#target = target
    if (this.#isClosed) {
      target.terminate()
      return
    }
    target.setNoDelay(true)
    this.down.comeFrom(target)
    this.up.leadTo(target)
  }
}

/** One direction of one connection. */
class Lane {
  readonly #departures = new Departures()
  /** What has come to the end of the lane, and waits for the socket there. */
  #unsent: Array<Uint8Array> = []
  #unsentBytes = 0
  #to: Socket<undefined> | undefined
  #isPaused = false
  #isEnding = false

  constructor(
    private from: Socket<undefined> | undefined,
    private readonly delayMs: number
  ) {}

  comeFrom(from: Socket<undefined>): void {
    this.from = from
  }

  leadTo(to: Socket<undefined>): void {
    this.#to = to
    this.flush()
  }

  take(bytes: Uint8Array): void {
    this.#departures.add({ atMs: performance.now() + this.delayMs, bytes, send: this.#arrive })
    this.#pace()
  }

  /** Nothing more comes in; the socket at the other end is closed behind what is on its way. */
  end(): void {
    const send = (): void => {
      this.#isEnding = true
      this.flush()
    }
    this.#departures.add({ atMs: performance.now() + this.delayMs, bytes: nothing, send })
  }

  flush(): void {
    for (let next = this.#unsent[0]; next !== undefined && this.#to !== undefined; next = this.#unsent[0]) {
      const written = Math.max(0, this.#to.write(next))
      this.#unsentBytes -= written
      if (written < next.length) {
        this.#unsent[0] = next.subarray(written)
        break
      }
      this.#unsent.shift()
    }
    if (this.#isEnding && this.#unsent.length === 0) this.#to?.end()
    this.#pace()
  }

  close(): void {
    this.#departures.close()
    this.#unsent = []
    this.#unsentBytes = 0
  }

  readonly #arrive = (bytes: Uint8Array): void => {
    this.#unsent.push(bytes)
    this.#unsentBytes += bytes.length
    this.flush()
  }

  #pace(): void {
    const heldBytes = this.#departures.underwayBytes + this.#unsentBytes
    if (!this.#isPaused && heldBytes >= laneBytesMax) {
      this.#isPaused = true
      this.from?.pause()
    } else if (this.#isPaused && heldBytes <= laneBytesMax / 2) {
      this.#isPaused = false
      this.from?.resume()
    }
  }
}

const nothing = new Uint8Array()
