/** The delaying proxy for TCP with real connections through it. */
import { expect } from "bun:test"
import * as TcpProxy from "@weft/infra/wan/TcpProxy"
import { Effect, Queue, type Scope } from "effect"
import { it } from "../support/effect.ts"

/** What a socket tells: bytes as they come, the end once. */
type Heard = { readonly bytes: Buffer; readonly atMs: number } | "closed"

interface Socket {
  readonly heard: Queue.Dequeue<Heard>
  readonly raw: Bun.Socket<undefined>
}

const handlers = (heard: Queue.Enqueue<Heard>) => ({
  data: (_: unknown, bytes: Buffer) => void heard.unsafeOffer({ bytes, atMs: performance.now() }),
  close: () => void heard.unsafeOffer("closed")
})

/** A target on a free port; what it accepts is taken from `accepted`. */
const target = Effect.gen(function* () {
  const accepted = yield* Queue.unbounded<Socket>()
  const sockets = new Map<Bun.Socket<undefined>, Queue.Queue<Heard>>()
  const of = (raw: Bun.Socket<undefined>) => handlers(sockets.get(raw) ?? Effect.runSync(Queue.unbounded<Heard>()))
  const listener = yield* Effect.acquireRelease(
    Effect.sync(() =>
      Bun.listen<undefined>({
        hostname: "127.0.0.1",
        port: 0,
        socket: {
          open: (raw) => {
            const heard = Effect.runSync(Queue.unbounded<Heard>())
            sockets.set(raw, heard)
            accepted.unsafeOffer({ heard, raw })
          },
          data: (raw, bytes) => of(raw).data(raw, bytes),
          close: (raw) => of(raw).close()
        }
      })
    ),
    (listener) => Effect.sync(() => listener.stop(true))
  )
  return { port: listener.port, accepted }
})

const client = (port: number): Effect.Effect<Socket, never, Scope.Scope> =>
  Effect.gen(function* () {
    const heard = yield* Queue.unbounded<Heard>()
    const raw = yield* Effect.acquireRelease(
      Effect.promise(() => Bun.connect<undefined>({ hostname: "127.0.0.1", port, socket: handlers(heard) })),
      (raw) => Effect.sync(() => raw.terminate())
    )
    return { heard, raw }
  })

/** Takes so many bytes; the time is that of the last of them. */
const take = (socket: Socket, sizeBytes: number) =>
  Effect.gen(function* () {
    const parts: Array<Buffer> = []
    let takenBytes = 0
    let atMs = 0
    while (takenBytes < sizeBytes) {
      const next = yield* Queue.take(socket.heard)
      if (next === "closed") return yield* Effect.dieMessage(`closed after ${takenBytes} bytes`)
      parts.push(next.bytes)
      takenBytes += next.bytes.length
      atMs = next.atMs
    }
    return { bytes: Buffer.concat(parts), atMs }
  })

const at = (port: number) => ({ hostname: "127.0.0.1", port })

it.live("bytes come whole and in order after the delay, both ways, on each connection apart", () =>
  Effect.gen(function* () {
    const { accepted, port } = yield* target
    const proxy = yield* TcpProxy.make({ to: at(port), delayMs: 30 })
    for (const name of ["one", "two"]) {
      const near = yield* client(proxy.port)
      const sentMs = performance.now()
      const words = Array.from({ length: 50 }, (_, index) => `${name} ${index};`)
      for (const word of words) near.raw.write(word)
      const far = yield* Queue.take(accepted)
      const there = yield* take(far, words.join("").length)
      expect(there.bytes.toString()).toBe(words.join(""))
      expect(there.atMs - sentMs).toBeGreaterThanOrEqual(29)
      far.raw.write("back")
      const back = yield* take(near, 4)
      expect(back.bytes.toString()).toBe("back")
      expect(back.atMs - sentMs).toBeGreaterThanOrEqual(58)
    }
    expect(yield* proxy.connections).toBe(2)
  })
)

it.live("who closes is heard on the other side, behind all that was sent", () =>
  Effect.gen(function* () {
    const { accepted, port } = yield* target
    const proxy = yield* TcpProxy.make({ to: at(port), delayMs: 5 })
    const [near, other] = yield* Effect.all([client(proxy.port), client(proxy.port)])
    const [far, further] = yield* Effect.all([Queue.take(accepted), Queue.take(accepted)])
    near.raw.end("last words")
    expect((yield* take(far, 10)).bytes.toString()).toBe("last words")
    expect(yield* Queue.take(far.heard)).toBe("closed")
    further.raw.end("bye")
    expect((yield* take(other, 3)).bytes.toString()).toBe("bye")
    expect(yield* Queue.take(other.heard)).toBe("closed")
    yield* proxy.connections.pipe(Effect.delay("1 millis"), Effect.repeat({ until: (count) => count === 0 }))
  })
)

it.live("a sender is slowed down while nobody reads, and what it sent comes whole when somebody does", () =>
  Effect.gen(function* () {
    const { accepted, port } = yield* target
    const proxy = yield* TcpProxy.make({ to: at(port), delayMs: 1 })
    const sizeBytes = 96 * 1024 * 1024
    const sent = Buffer.alloc(sizeBytes, "the quick brown fox ")
    let written = 0
    const push = (raw: Bun.Socket<undefined>): void => {
      while (written < sizeBytes) {
        const more = raw.write(sent.subarray(written, written + 1024 * 1024))
        written += Math.max(0, more)
        if (more < 1024 * 1024) return
      }
    }
    yield* Effect.acquireRelease(
      Effect.promise(() =>
        Bun.connect<undefined>({ ...at(proxy.port), socket: { data: () => {}, open: push, drain: push } })
      ),
      (raw) => Effect.sync(() => raw.terminate())
    )
    const far = yield* Queue.take(accepted)
    far.raw.pause()
    // Until the sender has stood still for a while.
    let before = -1
    yield* Effect.sync(() => {
      const isStill = written === before
      before = written
      return isStill
    }).pipe(Effect.delay("100 millis"), Effect.repeat({ until: (isStill) => isStill }))
    // What the proxy holds, and the buffers of the system, are less than all.
    expect(written).toBeLessThan(sizeBytes)
    far.raw.resume()
    const { bytes } = yield* take(far, sizeBytes)
    expect(Bun.hash(bytes)).toBe(Bun.hash(sent))
  })
)

it.live("a client of a target that is not there is hung up on, and so is one too many", () =>
  Effect.gen(function* () {
    const { accepted, port } = yield* target
    const proxy = yield* TcpProxy.make({ to: at(port), delayMs: 0 })
    yield* Effect.forEach(Array(64), () => Effect.zipRight(client(proxy.port), Queue.take(accepted)))
    const late = yield* client(proxy.port)
    expect(yield* Queue.take(late.heard)).toBe("closed")
    expect(yield* proxy.connections).toBe(64)
    // A port that was free a moment ago.
    const gone = yield* Effect.scoped(Effect.map(target, ({ port }) => port))
    const nowhere = yield* TcpProxy.make({ to: at(gone), delayMs: 0 })
    const lost = yield* client(nowhere.port)
    expect(yield* Queue.take(lost.heard)).toBe("closed")
  })
)

it.live("its scope closes every connection", () =>
  Effect.gen(function* () {
    const { accepted, port } = yield* target
    const [near, far] = yield* Effect.scoped(
      Effect.gen(function* () {
        // Longer than the test may take.
        const proxy = yield* TcpProxy.make({ to: at(port), delayMs: 60_000 })
        const near = yield* client(proxy.port)
        near.raw.write("never to arrive")
        return [near, yield* Queue.take(accepted)] as const
      })
    )
    expect(yield* Queue.take(near.heard)).toBe("closed")
    expect(yield* Queue.take(far.heard)).toBe("closed")
  })
)

it.live("only this machine is reached, and a port that is taken is told", () =>
  Effect.gen(function* () {
    const { port } = yield* target
    const far = yield* Effect.flip(TcpProxy.make({ to: { hostname: "192.0.2.1", port: 9 }, delayMs: 0 }))
    expect(far.message).toContain("192.0.2.1 is not loopback")
    const taken = yield* Effect.flip(TcpProxy.make({ to: at(9), listen: at(port), delayMs: 0 }))
    expect(taken.message).toMatch(/cannot listen: .*choose another port/)
  })
)
