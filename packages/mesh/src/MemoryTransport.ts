/**
 * The `Transport` layer inside one process, over a shared `MemoryNetwork`: for tests and simulation. Addresses are
 * `memory://NAME`; the certificate of an endpoint is stood in for by the SHA-256 of its address.
 */
import { Effect, Layer, Option } from "effect"
import * as transportLayer from "./internal/transportLayer.ts"
import { MemoryNetwork } from "./MemoryNetwork.ts"
import { SessionError } from "./MeshError.ts"
import { Transport } from "./Transport.ts"
import { defaults, type TransportLimits } from "./TransportLimits.ts"

/** Represents an endpoint of the memory network. */
export interface MemoryTransportOptions {
  /** Unique in its network; no spaces. */
  readonly name: string
  readonly limits?: Partial<TransportLimits>
}

const addressPattern = /^memory:\/\/(\S+)$/

const make = Effect.fnUntraced(function* ({ name, limits }: MemoryTransportOptions) {
  const network = yield* MemoryNetwork
  const address = `memory://${name}`
  const dial = (to: string) => {
    const other = addressPattern.exec(to)?.[1]
    if (other === undefined) return new SessionError({ reason: "DialFailed", address: to, cause: "not memory://NAME" })
    return Effect.flatMap(
      network.dial(name, other),
      Option.match({
        onNone: () => new SessionError({ reason: "DialFailed", address: to, cause: "nobody listens there" }),
        onSome: Effect.succeed
      })
    )
  }
  return yield* transportLayer.make(
    {
      layer: "memory",
      scheme: "memory",
      listen: (onSession) =>
        Effect.flatMap(network.register(name, onSession), (registered) =>
          registered
            ? Effect.succeed({ address, dial })
            : new SessionError({ reason: "ListenFailed", address, cause: "the name is taken" })
        )
    },
    { ...defaults, ...limits }
  )
})

/** Provides the transport of one endpoint; fails with `ListenFailed` when its name is taken. */
export const layer = (options: MemoryTransportOptions): Layer.Layer<Transport, SessionError, MemoryNetwork> =>
  Layer.scoped(Transport, make(options))
