/** The proxy with real datagrams and a real QUIC session through it, and its command as a process. */
import { expect } from "bun:test"
import * as UdpProxy from "@weft/infra/wan/UdpProxy"
import * as Certificate from "@weft/mesh/Certificate"
import * as QuicTransport from "@weft/mesh/QuicTransport"
import { Transport } from "@weft/mesh/Transport"
import { Context, Duration, Effect, Layer, Queue, type Scope } from "effect"
import { serve } from "../conformance/serve.ts"
import { encode, roundTrip } from "../conformance/transportSubject.ts"
import { it } from "../support/effect.ts"
import { run, start } from "../support/processes.ts"

interface Received {
  readonly number: number
  readonly atMs: number
  readonly from: number
}

interface Socket {
  readonly port: number
  readonly received: Queue.Dequeue<Received>
  readonly send: (port: number, number: number, sizeBytes?: number) => void
}

/** A socket whose datagrams are numbered; it answers each with the same where `isEcho`. */
const socket = (isEcho = false): Effect.Effect<Socket, never, Scope.Scope> =>
  Effect.gen(function* () {
    const received = yield* Queue.unbounded<Received>()
    const data = (own: { send: Bun.udp.Socket<"buffer">["send"] }, bytes: Buffer, from: number): void => {
      received.unsafeOffer({ number: bytes.readUInt32LE(), atMs: performance.now(), from })
      if (isEcho) own.send(bytes, from, "127.0.0.1")
    }
    const own = yield* Effect.acquireRelease(
      Effect.promise(() => Bun.udpSocket({ hostname: "127.0.0.1", socket: { data } })),
      (own) => Effect.sync(() => own.close())
    )
    const send = (port: number, number: number, sizeBytes = 4): void => {
      const bytes = Buffer.alloc(sizeBytes)
      bytes.writeUInt32LE(number)
      own.send(bytes, port, "127.0.0.1")
    }
    return { port: own.port, received, send }
  })

const at = (port: number): UdpProxy.LoopbackAddress => ({ hostname: "127.0.0.1", port })

it.live("datagrams come in order after the delay, and replies find each client after another", () =>
  Effect.gen(function* () {
    const target = yield* socket(true)
    const proxy = yield* UdpProxy.make({ to: at(target.port), delayMs: 30, jitterMs: 5 })
    const clients = yield* Effect.all([socket(), socket()])
    const sentMs = performance.now()
    for (const number of Array(20).keys())
      for (const [index, client] of clients.entries()) client.send(proxy.port, number * 2 + index)
    const there = yield* Queue.takeN(target.received, 40)
    expect([...there].map(({ number }) => number)).toEqual([...Array(40).keys()])
    for (const { atMs } of there) expect(atMs - sentMs).toBeGreaterThanOrEqual(24)
    expect(new Set([...there].map(({ from }) => from)).size).toBe(2)
    for (const [index, client] of clients.entries()) {
      const back = [...(yield* Queue.takeN(client.received, 20))]
      expect(back.map(({ number }) => number)).toEqual([...Array(20).keys()].map((number) => number * 2 + index))
      for (const { atMs, from } of back) {
        expect(from).toBe(proxy.port)
        expect(atMs - sentMs).toBeGreaterThanOrEqual(48)
      }
    }
    const { clients: count, down, up } = yield* proxy.counts
    const counted = { forwarded: 40, forwardedBytes: 160, lost: 0, overflowed: 0 }
    expect({ count, down, up }).toEqual({ count: 2, down: counted, up: counted })
  })
)

it.live("the same seed loses the same datagrams of another run", () =>
  Effect.gen(function* () {
    const survivors = (seed: number) =>
      Effect.gen(function* () {
        const [target, client] = yield* Effect.all([socket(), socket()])
        const proxy = yield* UdpProxy.make({ to: at(target.port), lossShare: 0.3, seed })
        // In lots that the system's buffers hold.
        for (let sent = 0; sent < 300; sent += 50) {
          for (const number of Array(50).keys()) client.send(proxy.port, sent + number)
          yield* proxy.counts.pipe(
            Effect.delay("1 millis"),
            Effect.repeat({ until: ({ up }) => up.forwarded + up.lost === sent + 50 })
          )
        }
        const { up } = yield* proxy.counts
        const numbers = [...(yield* Queue.takeN(target.received, up.forwarded))].map(({ number }) => number)
        expect(up.lost).toBe(300 - numbers.length)
        return numbers
      }).pipe(Effect.scoped)
    const first = yield* survivors(7)
    expect(first.length).toBeGreaterThan(150)
    expect(first.length).toBeLessThan(270)
    expect(yield* survivors(7)).toEqual(first)
    expect(yield* survivors(8)).not.toEqual(first)
  })
)

it.live("no more comes through than the rate allows, and what the queue cannot hold is dropped and counted", () =>
  Effect.gen(function* () {
    const [target, client] = yield* Effect.all([socket(), socket()])
    // 10 ms for each datagram; 20 of them wait.
    const proxy = yield* UdpProxy.make({ to: at(target.port), rateBitsPerSecond: 800_000, queueBytes: 20_000 })
    for (const number of Array(50).keys()) client.send(proxy.port, number, 1000)
    const first = yield* Queue.take(target.received)
    const rest = yield* Queue.takeN(target.received, 19)
    const last = [...rest].at(-1)
    expect((last?.atMs ?? 0) - first.atMs).toBeGreaterThanOrEqual(185)
    // One that came late, on a busy machine, found room again and is on its way still.
    const { up } = yield* Effect.delay(proxy.counts, "5 millis").pipe(
      Effect.repeat({ until: ({ up }) => up.forwarded + up.overflowed === 50 })
    )
    expect(up.overflowed).toBeGreaterThanOrEqual(25)
  })
)

it.live("a client too many takes the place of the one that was silent for longest", () =>
  Effect.gen(function* () {
    const target = yield* socket()
    const proxy = yield* UdpProxy.make({ to: at(target.port) })
    const arrival = (client: Socket, number: number) => {
      client.send(proxy.port, number)
      return Queue.take(target.received)
    }
    const clients = yield* Effect.all(Array.from({ length: 257 }, () => socket()))
    const before = yield* Effect.forEach(clients, arrival)
    expect(before.map(({ number }) => number)).toEqual([...clients.keys()])
    expect((yield* proxy.counts).clients).toBe(256)
    const after = yield* Effect.forEach([clients[100], clients[0]], (client, number) =>
      client === undefined ? Effect.die("missing") : arrival(client, number)
    )
    expect(after[0]?.from).toBe(before[100]?.from ?? 0)
    expect(after[1]?.from).not.toBe(before[0]?.from ?? 0)
  })
)

it.live("a client that was silent for long loses its socket, and comes back from another port", () =>
  Effect.gen(function* () {
    const [target, client] = yield* Effect.all([socket(), socket()])
    const proxy = yield* UdpProxy.make({ to: at(target.port), idle: Duration.millis(40) })
    client.send(proxy.port, 1)
    const first = yield* Queue.take(target.received)
    yield* proxy.counts.pipe(Effect.delay("5 millis"), Effect.repeat({ until: ({ clients }) => clients === 0 }))
    client.send(proxy.port, 2)
    const second = yield* Queue.take(target.received)
    expect([first.number, second.number]).toEqual([1, 2])
    expect(second.from).not.toBe(first.from)
  })
)

it.live("only this machine is reached, and a port that is taken is told", () =>
  Effect.gen(function* () {
    const target = yield* socket()
    const far = yield* Effect.flip(UdpProxy.make({ to: { hostname: "192.0.2.1", port: 9 } }))
    expect(far.message).toContain("192.0.2.1 is not loopback")
    const taken = yield* Effect.flip(UdpProxy.make({ to: at(9), listen: at(target.port) }))
    expect(taken.message).toMatch(/cannot listen: .*choose another port/)
  })
)

const transport = Effect.map(
  Layer.build(Layer.provide(QuicTransport.layer({ host: "127.0.0.1", port: 0 }), Certificate.Certificate.layer)),
  (context) => Context.get(context, Transport)
)

it.live("a QUIC session through it measures twice the delay, and survives loss", () =>
  Effect.gen(function* () {
    const [dialler, listener] = yield* Effect.all([transport, transport])
    const port = Number(listener.address.split(":").at(-1))
    const proxy = yield* UdpProxy.make({ to: at(port), delayMs: 25, lossShare: 0.02, seed: 3 })
    const dialled = dialler.dial(`quic://127.0.0.1:${proxy.port}`)
    const [near, far] = yield* Effect.all([dialled, listener.accept], { concurrency: 2 })
    yield* Effect.forkScoped(serve(far))
    const message = encode("word ".repeat(20_000))
    for (let count = 0; count < 5; count++) expect(Buffer.compare(yield* roundTrip(near, message), message)).toBe(0)
    const { rttMs } = yield* near.stats
    expect(rttMs).toBeGreaterThanOrEqual(49)
    // The rest is the machine's, which may be busy.
    expect(rttMs).toBeLessThan(90)
    const { down, up } = yield* proxy.counts
    expect(up.lost + down.lost).toBeGreaterThan(0)
    expect(up.forwardedBytes).toBeGreaterThan(500_000)
  })
)

it.live("the command says where it listens, and in the end what it counted", () =>
  Effect.gen(function* () {
    const [target, client] = yield* Effect.all([socket(true), socket()])
    const args = ["--to", String(target.port), "--delay", "5", "--loss", "0.5", "--rate", "20mbit", "--seed", "9"]
    const program = yield* start(["infra/src/wan/main.ts", ...args, "--json"])
    const ready = yield* program.event("ready")
    expect(ready).toMatchObject({ delayMs: 5, lossShare: 0.005, rateBitsPerSecond: 20e6, seed: 9 })
    client.send(Number(ready["port"]), 42)
    expect((yield* Queue.take(client.received)).number).toBe(42)
    yield* Effect.fork(program.process.kill("SIGINT"))
    const counts = yield* program.event("counts")
    expect(counts).toMatchObject({ up: { forwarded: 1 }, down: { forwarded: 1 } })
  })
)

it.live("wrong usage is told with the usage, and exits with 2", () =>
  Effect.gen(function* () {
    for (const [args, word] of [
      [[], "--to"],
      [["--to", "192.0.2.1:80"], "--to takes a port of this machine"],
      [["--to", "80", "--loss", "101"], "--loss takes a number in 0 … 100"],
      [["--to", "80", "--rate", "20"], "--rate takes"],
      [["--to", "80", "--unknown"], "--unknown"]
    ] as const) {
      const { code, stderr } = yield* run(["infra/src/wan/main.ts", ...args])
      expect(code).toBe(2)
      expect(stderr).toContain(word)
      expect(stderr).toContain("bun run wan --to")
    }
  })
)
