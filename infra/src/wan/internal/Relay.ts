/**
 * The sockets of one proxy: a front that clients send to, and one upstream socket for each client, connected to the
 * target, so that replies find their way back. Owned by `UdpProxy.ts`. Datagrams flow front → lane up → upstream →
 * target, and back through lane down; both lanes are shared by all clients, as one link is.
 */
import type { udp } from "bun"
import * as Impairment from "../Impairment.ts"
import type { UdpProxyOptions } from "../UdpProxy.ts"
import { Departures } from "./Departures.ts"

/** Clients at once: a harness has tens. With as many the one that was silent for longest makes room. */
export const clientsMax = 256

/** Represents what became of the datagrams of one direction. */
export interface Counts {
  forwarded: number
  forwardedBytes: number
  lost: number
  /** Dropped as the queue was full, the system's own included. */
  overflowed: number
}

interface Client {
  readonly key: string
  readonly upstream: Promise<udp.ConnectedSocket<"buffer">>
  socket: udp.ConnectedSocket<"buffer"> | undefined
  lastMs: number
}

interface Lane {
  state: Impairment.Lane
  readonly departures: Departures
  readonly counts: Counts
}

const laneOf = (direction: "up" | "down"): Lane => ({
  state: Impairment.lane(direction),
  departures: new Departures(),
  counts: { forwarded: 0, forwardedBytes: 0, lost: 0, overflowed: 0 }
})

/** Listens on loopback; rejects when the port is taken. */
export const open = async (options: UdpProxyOptions): Promise<Relay> => {
  const relay = new Relay(options)
  await relay.listen()
  return relay
}

/** Represents a proxy's sockets. */
export class Relay {
  readonly #clients = new Map<string, Client>()
  readonly #up = laneOf("up")
  readonly #down = laneOf("down")
  #front: udp.Socket<"buffer"> | undefined
  #isOpen = true

  constructor(private readonly options: UdpProxyOptions) {}

  get port(): number {
    return this.#front?.port ?? 0
  }

  get clients(): number {
    return this.#clients.size
  }

  get up(): Readonly<Counts> {
    return { ...this.#up.counts }
  }

  get down(): Readonly<Counts> {
    return { ...this.#down.counts }
  }

  async listen(): Promise<void> {
    const { hostname, port } = this.options.listen ?? { hostname: "127.0.0.1", port: 0 }
    this.#front = await Bun.udpSocket({
      hostname,
      port,
      socket: { data: (_, bytes, port, address) => this.#fromClient(bytes, port, address), error: () => {} }
    })
  }

  /** Closes the upstream sockets of clients that were silent for so long. */
  closeIdle(idleMs: number): void {
    for (const client of this.#clients.values()) if (client.lastMs <= performance.now() - idleMs) this.#leave(client)
  }

  close(): void {
    this.#isOpen = false
    this.#up.departures.close()
    this.#down.departures.close()
    for (const client of this.#clients.values()) this.#leave(client)
    this.#front?.close()
  }

  #fromClient(bytes: Uint8Array, port: number, address: string): void {
    const key = `${address}:${port}`
    const client = this.#clients.get(key) ?? this.#join(key, port, address)
    this.#pass(this.#up, client, bytes, (bytes) => {
      // The first datagrams wait for the socket, and those behind them with them: callbacks of a promise keep order.
      if (client.socket !== undefined) this.#send(this.#up, bytes, () => client.socket?.send(bytes))
      else client.upstream.then((socket) => this.#send(this.#up, bytes, () => socket.send(bytes)), this.#refused)
    })
  }

  #pass(lane: Lane, client: Client, bytes: Uint8Array, send: (bytes: Uint8Array) => void): void {
    const nowMs = performance.now()
    client.lastMs = nowMs
    const { departures, state } = lane
    const datagram = { sizeBytes: bytes.length, nowMs, underwayBytes: departures.underwayBytes }
    const next = Impairment.fate(this.options, state, datagram)
    lane.state = next.lane
    if (next.fate.kind === "lost") lane.counts.lost++
    else if (next.fate.kind === "overflows") lane.counts.overflowed++
    else departures.add({ atMs: next.fate.atMs, bytes, send })
  }

  /** A full buffer of the system, or a socket that was closed meanwhile, drops a datagram as a full queue does. */
  #send(lane: Lane, bytes: Uint8Array, send: () => boolean | undefined): void {
    if (!this.#isOpen) return
    let isSent = false
    try {
      isSent = send() === true
    } catch {
      // Bun throws on a socket that was closed: the datagram is counted as dropped below.
    }
    if (!isSent) {
      lane.counts.overflowed++
      return
    }
    lane.counts.forwarded++
    lane.counts.forwardedBytes += bytes.length
  }

  readonly #refused = (): void => {
    this.#up.counts.overflowed++
  }

  #join(key: string, port: number, address: string): Client {
    if (this.#clients.size >= clientsMax) {
      const [first, ...rest] = this.#clients.values()
      if (first !== undefined)
        this.#leave(rest.reduce((idle, next) => (next.lastMs < idle.lastMs ? next : idle), first))
    }
    const upstream = Bun.udpSocket({
      connect: this.options.to,
      socket: {
        data: (_, bytes) =>
          this.#pass(this.#down, client, bytes, (bytes) =>
            this.#send(this.#down, bytes, () => this.#front?.send(bytes, port, address))
          ),
        // A target that is not there refuses; on a link nobody would hear of it either.
        error: () => {}
      }
    })
    const client: Client = { key, upstream, socket: undefined, lastMs: 0 }
    this.#clients.set(key, client)
    upstream.then(
      (socket) => {
        client.socket = socket
        if (this.#clients.get(key) !== client) socket.close()
      },
      () => this.#clients.delete(key)
    )
    return client
  }

  #leave(client: Client): void {
    this.#clients.delete(client.key)
    client.socket?.close()
  }
}
