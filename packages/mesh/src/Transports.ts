/**
 * Several ways into the same mesh as one `Transport`: listens on all of them, accepts from all, and dials by the scheme
 * of the address. Owns a fiber per listening way; a way that is only dialled is made when it is first needed.
 */
import { Context, Effect, Layer, Queue, Scope } from "effect"
import type { Certificate } from "./Certificate.ts"
import { SessionError } from "./MeshError.ts"
import { type Session, Transport } from "./Transport.ts"

/** Where this process listens, as others dial it; the preferred way first. */
export class MeshAddresses extends Context.Tag("@weft/mesh/MeshAddresses")<MeshAddresses, ReadonlyArray<string>>() {}

/** Represents one way. */
export type TransportLayer = Layer.Layer<Transport, SessionError, Certificate>

/** Represents the ways of one process. */
export interface Ways {
  readonly listening: readonly [TransportLayer, ...ReadonlyArray<TransportLayer>]
  /** Ways on which nobody dials us, by the scheme of the addresses they dial. */
  readonly dialling?: Partial<Readonly<Record<Scheme, TransportLayer>>>
}

type Scheme = typeof Transport.Service.scheme

/** Provides all ways as one; fails where one of them cannot listen. */
export const layer = (ways: Ways): Layer.Layer<Transport | MeshAddresses, SessionError, Certificate> =>
  Layer.scopedContext(make(ways))

// internal

/** Sessions that were accepted on one way and wait to be taken; the transports themselves hold more back. */
const sessionsWaitingMax = 16

const make = Effect.fnUntraced(function* ({
  dialling,
  listening: [first, ...rest]
}: Ways): Effect.fn.Return<Context.Context<Transport | MeshAddresses>, SessionError, Certificate | Scope.Scope> {
  const build = (way: TransportLayer) => Effect.map(Layer.build(way), Context.get(Transport))
  const main = yield* build(first)
  const listening = [main, ...(yield* Effect.forEach(rest, build))]
  const accepted = yield* Queue.bounded<Session>(sessionsWaitingMax)
  for (const transport of listening) {
    const forward = Effect.forever(Effect.flatMap(transport.accept, (session) => Queue.offer(accepted, session)))
    yield* Effect.forkScoped(Effect.interruptible(forward))
  }
  const scope = yield* Effect.scope
  const context = yield* Effect.context<Certificate>()
  const onDemand = yield* Effect.forEach(Object.entries(dialling ?? {}), ([scheme, way]) =>
    Effect.map(
      Effect.cached(Scope.extend(Effect.provide(build(way), context), scope)),
      (transport) => [scheme, transport] as const
    )
  )
  const byScheme = new Map<string, Effect.Effect<typeof Transport.Service, SessionError>>(onDemand)
  for (const transport of listening) byScheme.set(transport.scheme, Effect.succeed(transport))
  const dial = (address: string) => {
    const way = byScheme.get(address.slice(0, address.indexOf(":")))
    return way === undefined
      ? new SessionError({ reason: "DialFailed", address, cause: "no transport here dials such an address" })
      : Effect.flatMap(way, (transport) => transport.dial(address))
  }
  return Context.make(Transport, { ...main, dial, accept: Queue.take(accepted) }).pipe(
    Context.add(
      MeshAddresses,
      listening.map((transport) => transport.address)
    )
  )
})
