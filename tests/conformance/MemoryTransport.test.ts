/** The conformance suite over memory; a victim is killed by cutting it off for good. */
import { MemoryNetwork } from "@weft/mesh/MemoryNetwork"
import * as MemoryTransport from "@weft/mesh/MemoryTransport"
import { Transport } from "@weft/mesh/Transport"
import type { TransportLimits } from "@weft/mesh/TransportLimits"
import { Context, Effect, Layer, ManagedRuntime } from "effect"
import { serve } from "./serve.ts"
import { transportSuite } from "./transport.ts"

// One network for all tests of the file, each with endpoints of its own.
const runtime = ManagedRuntime.make(MemoryNetwork.layer())
const network = Layer.effect(
  MemoryNetwork,
  Effect.promise(() => runtime.runPromise(MemoryNetwork))
)

let names = 0
const last = { name: "" }
const named = (name: string, limits: Partial<TransportLimits> = {}) =>
  Layer.provide(MemoryTransport.layer({ name, limits }), network)
const fresh = (limits?: Partial<TransportLimits>) =>
  Layer.suspend(() => {
    last.name = `endpoint-${names++}`
    return named(last.name, limits)
  })

const victim = Effect.gen(function* () {
  const transport = Context.get(yield* Layer.build(fresh()), Transport)
  const name = last.name
  const kill = Effect.flatMap(MemoryNetwork, (shared) =>
    Effect.sync(() => {
      for (let other = 0; other < names; other++) Effect.runSync(shared.partition(name, `endpoint-${other}`))
    })
  ).pipe(Effect.provide(network))
  return { transport, kill }
})

transportSuite("memory", {
  layer: fresh,
  layerAt: (address) => named(address.slice("memory://".length)),
  deadAddress: "memory://nobody",
  bulkBytes: 16 * 1024 * 1024,
  listening: Effect.gen(function* () {
    const { transport, kill } = yield* victim
    yield* transport.accept.pipe(
      Effect.flatMap((session) => Effect.forkScoped(serve(session))),
      Effect.forever,
      Effect.forkScoped
    )
    return { address: transport.address, kill }
  }),
  dialling: (address) =>
    Effect.gen(function* () {
      const { transport, kill } = yield* victim
      const session = yield* transport.dial(address)
      const stream = yield* session.open
      yield* stream.write(new Uint8Array(1))
      return { kill }
    })
})
