/**
 * The network under `MemoryTransport`: named endpoints in one process, with seeded delay, jitter and faults, and with
 * partitions that a test makes and heals. Owned by its layer's scope. Under `TestClock` the same seed and the same
 * calls give the same run: every direction of every session has its own random stream, and no real time takes part.
 */
import { Context, Effect, FiberSet, Layer, Option, type Scope } from "effect"
import { type Connection, connect, type Faults, Partitions } from "./internal/memoryConnection.ts"
import type { RawSession } from "./internal/RawSession.ts"

/** Represents what a memory network does to what passes it. */
export interface MemoryNetworkOptions extends Faults {
  readonly seed: number
}

/** Returns a network without delay or faults. */
export const defaults: MemoryNetworkOptions = {
  seed: 1,
  delayMs: 0,
  jitterMs: 0,
  sessionLossPerMessage: 0,
  streamCutPerMessage: 0
}

/** Takes the sessions that others dial. */
export type Accept = (raw: RawSession) => void

/** Named endpoints and what lies between them; names are symmetric in every fault. */
export class MemoryNetwork extends Context.Tag("@weft/mesh/MemoryNetwork")<
  MemoryNetwork,
  {
    /** Registers a name until the scope ends; `false` when it is taken. */
    readonly register: (name: string, accept: Accept) => Effect.Effect<boolean, never, Scope.Scope>
    /** Connects two names after one round trip; `None` where nobody listens, never completes across a partition. */
    readonly dial: (from: string, to: string) => Effect.Effect<Option.Option<RawSession>>
    /** Holds back everything between two names, both ways, until healed: what was sent is late, not lost. */
    readonly partition: (left: string, right: string) => Effect.Effect<void>
    readonly heal: (left: string, right: string) => Effect.Effect<void>
    /** Ends all sessions between two names without a goodbye; both sides see it at once. */
    readonly cutSessions: (left: string, right: string) => Effect.Effect<void>
  }
>() {
  /** Builds a network; sessions still alive when it is released fall silent. */
  static readonly layer = (options: Partial<MemoryNetworkOptions> = {}): Layer.Layer<MemoryNetwork> =>
    Layer.scoped(MemoryNetwork, make({ ...defaults, ...options }))
}

const make = Effect.fnUntraced(function* (options: MemoryNetworkOptions) {
  const endpoints = new Map<string, Accept>()
  const connections = new Set<Connection>()
  const partitions = new Partitions()
  const fibers = yield* FiberSet.make()
  const run = yield* FiberSet.runtime(fibers)<never>()
  let dials = 0

  const dial = Effect.fnUntraced(function* (from: string, to: string) {
    yield* partitions.passable(from, to)
    yield* Effect.sleep(2 * options.delayMs)
    yield* partitions.passable(from, to)
    const accept = endpoints.get(to)
    if (accept === undefined) return Option.none<RawSession>()
    const connection = connect({
      from,
      to,
      faults: options,
      seed: options.seed * 1_000_003 + dials++,
      passable: partitions.passable(from, to),
      run: (effect) => void run(Effect.interruptible(effect)),
      over: () => connections.delete(connection),
      clock: yield* Effect.clock
    })
    connections.add(connection)
    accept(connection.accepted)
    return Option.some<RawSession>(connection.dialled)
  })

  return MemoryNetwork.of({
    register: (name, accept) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          if (endpoints.has(name)) return false
          endpoints.set(name, accept)
          return true
        }),
        (registered) => Effect.sync(() => registered && endpoints.delete(name))
      ),
    dial,
    partition: (left, right) => Effect.sync(() => partitions.close(left, right)),
    heal: (left, right) => Effect.sync(() => partitions.open(left, right)),
    cutSessions: (left, right) =>
      Effect.sync(() => {
        for (const connection of connections) if (connection.joins(left, right)) connection.cut()
      })
  })
})
