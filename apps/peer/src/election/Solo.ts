/**
 * The peer's side of the election: whose order it follows (`SoloLease.ts`). `EntryLink.ts` brings the orders; one fiber
 * carries them out.
 *
 *   entry ─ order ─▶ receive ─ wanted ─▶ SoloEngines: withdraw, drain, unload; load, announce
 */
import type { Order, SoloOffer, Standing } from "@weft/mesh/election/ElectionProtocol"
import { candidatesMax } from "@weft/mesh/election/ElectionProtocol"
import * as SoloLease from "@weft/mesh/election/SoloLease"
import type { PeerId } from "@weft/mesh/PeerId"
import { Clock, Context, Effect, Either, Layer, Queue } from "effect"
import { Engines } from "../Engines.ts"
import type { ElectionStatus } from "../PeerStatus.ts"
import * as SoloEngines from "./SoloEngines.ts"

/** Represents what a peer begins with. */
export interface SoloOptions extends SoloEngines.SoloEnginesOptions {
  /** What all that it loads may take together; without a standby among the candidates there is nothing to elect. */
  readonly usableBytes: number
}

/** Follows the entry's orders. */
export class Solo extends Context.Tag("@weft/peer/Solo")<
  Solo,
  {
    /** What the peer says when it registers; undefined where there is nothing to elect. */
    readonly offer: Effect.Effect<SoloOffer | undefined>
    readonly standing: Effect.Effect<Standing>
    /** Follows the order, or keeps why it does not for `standing`. */
    readonly receive: (entry: PeerId, order: Order) => Effect.Effect<void>
    /** Undefined where the peer has no model that it could serve alone. */
    readonly status: Effect.Effect<ElectionStatus | undefined>
  }
>() {
  static readonly layer = (options: SoloOptions): Layer.Layer<Solo, never, Engines> =>
    Layer.scoped(
      Solo,
      Effect.flatMap(Engines, (engines) => make(options, engines))
    )

  /** A peer that serves what it serves. */
  static readonly layerNone: Layer.Layer<Solo> = Layer.succeed(Solo, {
    offer: Effect.succeed(undefined),
    standing: Effect.succeed(SoloLease.standing(SoloLease.free, null, 0)),
    receive: () => Effect.void,
    status: Effect.succeed(undefined)
  })
}

// internal

const make = Effect.fnUntraced(function* (options: SoloOptions, engines: typeof Engines.Service) {
  // Those that serve come first, so what is left out is never more than standbys where there are any.
  const candidates = options.candidates.slice(0, candidatesMax)
  const { usableBytes } = options
  const limits = { usableBytes, needBytes: new Map(candidates.map(({ model, needBytes }) => [model.id, needBytes])) }
  const loading = yield* SoloEngines.make({ ...options, candidates }, engines)
  const isElective = candidates.some(({ model }) => !loading.isLoaded(model.id))
  const orders = yield* Queue.sliding<void>(1)
  let lease = SoloLease.free
  let refused: Standing["refused"] = null
  const carryOut = Effect.suspend(() => loading.carryOut(SoloLease.workersOf(lease.holder?.assignments ?? [])))
  yield* Effect.forkScoped(Effect.forever(Effect.zipRight(Queue.take(orders), carryOut)))

  const receive = (entry: PeerId, order: Order, now: number): void => {
    const next = SoloLease.receive(lease, entry, order, limits, now)
    const isNew = lease.holder?.epoch !== order.epoch
    refused = Either.isLeft(next) ? { entry, epoch: order.epoch, reason: next.left } : null
    if (Either.isLeft(next)) return
    lease = next.right
    if (isNew) Queue.unsafeOffer(orders, undefined)
  }
  return {
    offer: Effect.sync(() => {
      if (!isElective) return undefined
      const offered = candidates.filter(({ model }) => loading.failure(model.id) === undefined)
      const described = offered.map(({ model, needBytes }) => ({ model, needBytes }))
      return { usableBytes: Math.floor(usableBytes), candidates: described }
    }),
    standing: Effect.zipRight(
      loading.forgive,
      Effect.map(Clock.currentTimeMillis, (now) => SoloLease.standing(lease, refused, now))
    ),
    receive: (entry, order) => Effect.map(Clock.currentTimeMillis, (now) => receive(entry, order, now)),
    status: Effect.map(Clock.currentTimeMillis, (now) => {
      if (options.candidates.length === 0) return undefined
      const { holder } = lease
      const models = options.candidates.map(({ model: { id }, needBytes }, index) => {
        const isLoaded = loading.isLoaded(id)
        const isElected = isElective && index < candidatesMax
        const role = isElected ? roleOf(id, isLoaded, holder, loading.failure(id)) : unelected(id, isLoaded)
        return { needBytes, isLoaded, ...role }
      })
      return {
        isElective,
        ...(holder === undefined ? {} : { lease: leaseOf(holder, now) }),
        ...(refused === null ? {} : { refused: SoloLease.toText(refused.reason) }),
        models
      }
    })
  } satisfies typeof Solo.Service
})

const leaseOf = ({ entry, epoch, untilMs }: SoloLease.Holder, now: number) => ({
  entry,
  epoch,
  leftMs: Math.max(0, untilMs - now)
})

/** What the peer is for a model, and why. */
type NamedRole = Pick<ElectionStatus["models"][number], "model" | "role" | "why">

/** Of a model that no entry is told of. */
const unelected = (model: string, isLoaded: boolean): NamedRole =>
  isLoaded
    ? { model, role: "worker", why: "there is room for it, and no entry may take it away" }
    : { model, role: "dropped", why: `entries choose among the first ${candidatesMax} models of a peer` }

const roleOf = (
  model: string,
  isLoaded: boolean,
  holder: SoloLease.Holder | undefined,
  failure: string | undefined
): NamedRole => {
  if (failure !== undefined) return { model, role: "dropped", why: failure }
  const assigned = holder?.assignments.find((one) => one.model === model)
  if (assigned !== undefined) return assigned
  return isLoaded
    ? { model, role: "worker", why: "it was given first, and no entry said otherwise yet" }
    : { model, role: "standby", why: "no room beside the models given before it, and no entry said otherwise yet" }
}
