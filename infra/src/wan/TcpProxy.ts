/**
 * A longer way than loopback for TCP: a proxy that holds every byte back for a time, and loses none. Owned by the scope
 * it is made in, which closes its sockets. Clients on this machine connect to its port; each gets a connection of its
 * own to a target on this machine.
 */
import { Effect, type Scope } from "effect"
import { open } from "./internal/TcpRelay.ts"
import { type LoopbackAddress, ProxyFailed, requireLoopback } from "./UdpProxy.ts"

/** Represents a proxy. */
export interface TcpProxyOptions {
  /** Where it listens; a free port of 127.0.0.1 where absent. */
  readonly listen?: LoopbackAddress | undefined
  /** Who is connected to. */
  readonly to: LoopbackAddress
  /** Time one way, the same in both; half a millisecond more or less. */
  readonly delayMs: number
}

/** Represents a running proxy. */
export interface TcpProxy {
  /** TCP port that clients connect to. */
  readonly port: number
  /** Clients that are connected now. */
  readonly connections: Effect.Effect<number>
}

/**
 * Makes a proxy that runs until its scope closes. Who closes a connection closes both directions of it; what is on its
 * way to the other side still arrives. A client of a target that is not there is hung up on.
 */
export const make = Effect.fn("TcpProxy.make")(function* (
  options: TcpProxyOptions
): Effect.fn.Return<TcpProxy, ProxyFailed, Scope.Scope> {
  yield* requireLoopback(options)
  const relay = yield* Effect.acquireRelease(
    Effect.try({
      try: () => open(options),
      catch: (cause) => new ProxyFailed({ message: `cannot listen: ${cause}; choose another port` })
    }),
    (relay) => Effect.sync(() => relay.close())
  )
  return { port: relay.port, connections: Effect.sync(() => relay.connections) }
})
