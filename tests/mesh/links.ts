/** Endpoints of a memory network, each with an identity of its own, and links between them. */
import { Identity } from "@weft/mesh/Identity"
import * as Link from "@weft/mesh/Link"
import { MemoryNetwork, type MemoryNetworkOptions } from "@weft/mesh/MemoryNetwork"
import * as MemoryTransport from "@weft/mesh/MemoryTransport"
import { Transport } from "@weft/mesh/Transport"
import type { TransportLimits } from "@weft/mesh/TransportLimits"
import { Context, Effect, Layer, type Scope } from "effect"
import { register } from "prom-client"

/** Represents one process of the mesh. */
export interface Endpoint {
  readonly transport: Transport["Type"]
  readonly identity: Identity["Type"]
}

/** Makes an endpoint that lives as long as the scope. */
export const endpoint = (
  name: string,
  limits: Partial<TransportLimits> = {}
): Effect.Effect<Endpoint, never, MemoryNetwork | Scope.Scope> =>
  Effect.map(
    Effect.orDie(Layer.build(Layer.merge(MemoryTransport.layer({ name, limits }), Identity.layerEphemeral))),
    (context) => ({ transport: Context.get(context, Transport), identity: Context.get(context, Identity) })
  )

/** Runs what a process does in the name of `self`. */
export const as = <A, E, R>(self: Endpoint, effect: Effect.Effect<A, E, R>) =>
  effect.pipe(Effect.provideService(Transport, self.transport), Effect.provideService(Identity, self.identity))

/** Accepts the next session at `entry` and says the entry's side of the hello. */
export const welcome = (entry: Endpoint) =>
  as(
    entry,
    Effect.flatMap(entry.transport.accept, (session) => Link.accept(session, { role: "entry", accepts: "peer" }))
  )

/** Links two endpoints; `near` is the peer's side, `far` the entry's. */
export const connect = (peer: Endpoint, entry: Endpoint) =>
  Effect.map(
    Effect.all(
      [as(peer, Link.dial(entry.transport.address, { role: "peer", expected: entry.identity.id })), welcome(entry)],
      { concurrency: 2 }
    ),
    ([near, far]) => ({ near, far })
  )

/** Runs `body` with a link between a peer and an entry that are alone on a network. */
export const linked = <A, E, R>(
  body: (link: {
    readonly near: Link.Link
    readonly far: Link.Link
    readonly peer: Endpoint
    readonly entry: Endpoint
  }) => Effect.Effect<A, E, R>,
  options: { readonly network?: Partial<MemoryNetworkOptions>; readonly limits?: Partial<TransportLimits> } = {}
) =>
  Effect.gen(function* () {
    const peer = yield* endpoint("peer", options.limits)
    const entry = yield* endpoint("entry", options.limits)
    return yield* body({ ...(yield* connect(peer, entry)), peer, entry })
  }).pipe(Effect.scoped, Effect.provide(MemoryNetwork.layer(options.network)))

/** Returns what a metric of this process counts under these labels. */
export const counted = (name: string, labels: Readonly<Record<string, string>> = {}): Effect.Effect<number> =>
  Effect.promise(async () => {
    const { values = [] } = (await register.getSingleMetric(name)?.get()) ?? {}
    const matching = values.filter((value) =>
      Object.entries(labels).every(([key, label]) => (value.labels as Record<string, unknown>)[key] === label)
    )
    return matching.reduce((sum, { value }) => sum + value, 0)
  })

/** Runs `body` and returns by how much a metric rose meanwhile. */
export const rise = <A, E, R>(
  name: string,
  labels: Readonly<Record<string, string>>,
  body: Effect.Effect<A, E, R>
): Effect.Effect<number, E, R> =>
  Effect.gen(function* () {
    const before = yield* counted(name, labels)
    yield* body
    return (yield* counted(name, labels)) - before
  })
