/**
 * The peer's side of the election: whose order it follows (`SoloLease.ts`), and the engines of its candidates, one scope
 * each. `EntryLink.ts` brings the orders; one fiber carries them out, what leaves before what comes.
 *
 *   entry ─ order ─▶ receive ─ wanted ─▶ carryOut: withdraw, drain, unload; load, announce
 */
import type { EngineError } from "@weft/engine/EngineError"
import type { SupervisedEngine } from "@weft/engine/EngineSupervisor"
import type { Order, SoloCandidate, SoloOffer, Standing } from "@weft/mesh/election/ElectionProtocol"
import { candidatesMax } from "@weft/mesh/election/ElectionProtocol"
import * as SoloLease from "@weft/mesh/election/SoloLease"
import type { PeerId } from "@weft/mesh/PeerId"
import { Clock, Context, Effect, Either, ExecutionStrategy, Exit, Layer, Queue, Schedule, Scope } from "effect"
import { Engines } from "../Engines.ts"
import type { ElectionStatus } from "../PeerStatus.ts"

/** Represents a model that the peer could serve alone. */
export interface Candidate extends SoloCandidate {
  /** Loads it; the engine stops with the scope. */
  readonly load: Effect.Effect<SupervisedEngine, EngineError, Scope.Scope>
}

/** Represents an engine that runs, and its end. */
export interface Held {
  readonly engine: SupervisedEngine
  readonly scope: Scope.CloseableScope
}

/** Represents what a peer begins with. */
export interface SoloOptions {
  readonly usableBytes: number
  /** All that could be served alone; without a standby among them there is nothing to elect. */
  readonly candidates: ReadonlyArray<Candidate>
  readonly held: ReadonlyArray<Held>
  /** What may be loaded besides what is: the last word before a load, as others use the computer too. */
  readonly freeBytes: Effect.Effect<number>
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

/** Longest wait for running answers of a model that leaves; what is cut goes on at another peer. */
const drainDeadline = "15 seconds"
/** How often a model that leaves is looked at. */
const drainLook = "100 millis"
/** How long a model that could not be loaded is not offered: its file or the memory may be mended meanwhile. */
const failedMs = 300_000

// internal

const make = Effect.fnUntraced(function* (options: SoloOptions, engines: typeof Engines.Service) {
  // Those that serve come first, so what is left out is never more than standbys where there are any.
  const candidates = options.candidates.slice(0, candidatesMax)
  const needBytes = new Map(candidates.map((candidate) => [candidate.model.id, candidate.needBytes]))
  const held = new Map(options.held.map((one) => [one.engine.model.id, one]))
  const failed = new Map<string, { readonly untilMs: number; readonly why: string }>()
  const orders = yield* Queue.sliding<void>(1)
  const parent = yield* Effect.scope
  let lease = SoloLease.free
  let refused: Standing["refused"] = null
  const isElective = candidates.some(({ model }) => !held.has(model.id))

  /** Forgets failures that are long past; the entry hears of it with the next registration. */
  const forgive = Effect.map(Clock.currentTimeMillis, (now) => {
    for (const [model, { untilMs }] of failed) {
      if (now < untilMs) continue
      failed.delete(model)
      engines.announce()
    }
    return now
  })

  const unload = Effect.fnUntraced(function* ({ engine, scope }: Held) {
    const { id } = engine.model
    engines.release(engine)
    held.delete(id)
    yield* engine.load.pipe(
      Effect.repeat({ schedule: Schedule.spaced(drainLook), until: ({ active, queued }) => active + queued === 0 }),
      Effect.timeoutOption(drainDeadline)
    )
    yield* Scope.close(scope, Exit.void)
    yield* Effect.logInfo(`no longer serving ${id}: another model has its place`)
  })

  const load = Effect.fnUntraced(function* ({ load, model, needBytes }: Candidate) {
    const scope = yield* Scope.fork(parent, ExecutionStrategy.sequential)
    const isRoom = (yield* options.freeBytes) >= needBytes
    const loaded = isRoom ? yield* Effect.either(Scope.extend(load, scope)) : Either.left(noMemory)
    if (Either.isRight(loaded)) {
      held.set(model.id, { engine: loaded.right, scope })
      engines.hold(loaded.right)
      return
    }
    yield* Scope.close(scope, Exit.void)
    failed.set(model.id, { untilMs: (yield* Clock.currentTimeMillis) + failedMs, why: loaded.left.message })
    engines.announce()
    yield* Effect.logWarning(`${model.id} was elected and cannot be loaded: ${loaded.left.message}`)
  })

  const carryOut = Effect.suspend(() => {
    const wanted = SoloLease.workersOf(lease.holder?.assignments ?? [])
    const leaving = [...held.values()].filter(
      ({ engine }) => isOffered(engine.model.id) && !wanted.has(engine.model.id)
    )
    const coming = candidates.filter(({ model: { id } }) => wanted.has(id) && !held.has(id) && !failed.has(id))
    return Effect.zipRight(
      Effect.forEach(leaving, unload, { concurrency: "unbounded", discard: true }),
      Effect.forEach(coming, load, { discard: true })
    )
  })
  const isOffered = (model: string): boolean => needBytes.has(model)
  yield* Effect.forkScoped(Effect.forever(Effect.zipRight(Queue.take(orders), carryOut)))

  const offered = () => candidates.filter(({ model }) => !failed.has(model.id))
  return {
    offer: Effect.sync(() =>
      isElective
        ? {
            usableBytes: Math.floor(options.usableBytes),
            candidates: offered().map(({ model, needBytes }) => ({ model, needBytes }))
          }
        : undefined
    ),
    standing: Effect.map(forgive, (now) => SoloLease.standing(lease, refused, now)),
    receive: (entry, order) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const limits = { usableBytes: options.usableBytes, needBytes }
        const next = SoloLease.receive(lease, entry, order, limits, now)
        const isNew = lease.holder?.epoch !== order.epoch
        refused = Either.isLeft(next) ? { entry, epoch: order.epoch, reason: next.left } : null
        if (Either.isLeft(next)) return
        lease = next.right
        if (isNew) Queue.unsafeOffer(orders, undefined)
      }),
    status: Effect.map(Clock.currentTimeMillis, (now) => {
      if (!isElective) return undefined
      const { holder } = lease
      return {
        ...(holder === undefined
          ? {}
          : { lease: { entry: holder.entry, epoch: holder.epoch, leftMs: Math.max(0, holder.untilMs - now) } }),
        ...(refused === null ? {} : { refused: SoloLease.toText(refused.reason) }),
        models: candidates.map(({ model: { id }, needBytes }) => ({
          needBytes,
          isLoaded: held.has(id),
          ...roleOf(id, held.has(id), holder, failed.get(id)?.why)
        }))
      }
    })
  } satisfies typeof Solo.Service
})

const noMemory = { message: "other programs use the memory; it is tried again in 5 minutes" }

const roleOf = (
  model: string,
  isLoaded: boolean,
  holder: SoloLease.Holder | undefined,
  failure: string | undefined
): Pick<ElectionStatus["models"][number], "model" | "role" | "why"> => {
  if (failure !== undefined) return { model, role: "dropped", why: failure }
  const assigned = holder?.assignments.find((one) => one.model === model)
  if (assigned !== undefined) return assigned
  return isLoaded
    ? { model, role: "worker", why: "it was given first, and no entry said otherwise yet" }
    : { model, role: "standby", why: "no room beside the models given before it, and no entry said otherwise yet" }
}
