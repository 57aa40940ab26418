/**
 * A worse link than loopback: a UDP proxy that delays, loses and queues datagrams, the same ones for the same seed.
 * Owned by the scope it is made in, which closes its sockets. Clients on this machine send to its port; a target on
 * this machine receives, from a port for each client; replies come back through the same link.
 */
import { Data, Duration, Effect, Schedule, type Scope } from "effect"
import * as Impairment from "./Impairment.ts"
import { type Counts, open } from "./internal/Relay.ts"

/** Represents a UDP address of this machine. */
export interface LoopbackAddress {
  /** In 127.0.0.0/8, or `::1`: the proxy must not become anybody's way to other machines. */
  readonly hostname: string
  readonly port: number
}

/** Represents a proxy; the impairments are those of each direction. */
export interface UdpProxyOptions extends Impairment.Impairment {
  /** Where it listens; a free port of 127.0.0.1 where absent. */
  readonly listen?: LoopbackAddress | undefined
  /** Who receives. */
  readonly to: LoopbackAddress
  /** Silence after which a client's upstream socket is closed; `idleByDefault` where absent. */
  readonly idle?: Duration.Duration
}

/** Represents what a proxy did so far. */
export interface UdpProxyCounts {
  /** From clients to the target. */
  readonly up: Readonly<Counts>
  readonly down: Readonly<Counts>
  /** Clients that have an upstream socket now. */
  readonly clients: number
}

/** Represents a running proxy. */
export interface UdpProxy {
  /** UDP port that clients send to. */
  readonly port: number
  readonly counts: Effect.Effect<UdpProxyCounts>
}

/** Represents a proxy that could not listen. */
export class ProxyFailed extends Data.TaggedError("ProxyFailed")<{ readonly message: string }> {}

/** Many home routers forget a UDP flow as early; who sends on then comes from another port. */
export const idleByDefault = Duration.seconds(60)

/** Makes a proxy that runs until its scope closes; what `options` leaves out is as on a perfect link. */
export const make = Effect.fn("UdpProxy.make")(function* (
  options: Pick<UdpProxyOptions, "to"> & Partial<UdpProxyOptions>
): Effect.fn.Return<UdpProxy, ProxyFailed, Scope.Scope> {
  yield* requireLoopback(options)
  const relay = yield* Effect.acquireRelease(
    Effect.tryPromise({
      try: () => open({ ...Impairment.none, ...options }),
      catch: (cause) => new ProxyFailed({ message: `cannot listen: ${cause}; choose another port` })
    }),
    (relay) => Effect.sync(() => relay.close())
  )
  const idleMs = Duration.toMillis(options.idle ?? idleByDefault)
  yield* Effect.sync(() => relay.closeIdle(idleMs)).pipe(
    Effect.repeat(Schedule.spaced(Duration.millis(idleMs / 4))),
    Effect.forkScoped
  )
  const counts = Effect.sync(() => ({ up: relay.up, down: relay.down, clients: relay.clients }))
  return { port: relay.port, counts }
})

/** Fails where a proxy would listen or send anywhere else than on this machine. */
export const requireLoopback = ({
  listen,
  to
}: Pick<UdpProxyOptions, "listen" | "to">): Effect.Effect<void, ProxyFailed> => {
  const far = [to, listen].find((address) => address !== undefined && !loopback.test(address.hostname))
  if (far === undefined) return Effect.void
  return new ProxyFailed({ message: `${far.hostname} is not loopback: use 127.0.0.1` })
}

// internal

const loopback = /^(127\.\d{1,3}\.\d{1,3}\.\d{1,3}|::1)$/
