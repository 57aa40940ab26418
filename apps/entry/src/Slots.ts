/**
 * Gives each answer a slot of a peer, or a place in the queue of its model until one is free. Owns the queues; a slot
 * that becomes free is given on at once, without a timer. Every step is synchronous: nobody ever sees half of one.
 */
import type { Link } from "@weft/mesh/Link"
import type { PeerDirectory } from "@weft/mesh/PeerDirectory"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import type { PeerId } from "@weft/mesh/PeerId"
import { elect, NobodyElected, slotsServing } from "@weft/mesh/SoloElection"
import { Clock, Context, Deferred, Effect, Either, FiberId, Layer, type Scope } from "effect"
import * as EntryMetrics from "./EntryMetrics.ts"
import { NoAnswer } from "./Inference.ts"
import { Links, type Seat } from "./Links.ts"
import * as ModelQueue from "./ModelQueue.ts"

/** Represents who wants a slot and for what. */
export interface SlotRequest {
  readonly model: string
  /** Name of the key it came with; callers take turns. */
  readonly caller: string
  /** Peers that failed this answer already. */
  readonly excluded: ReadonlySet<PeerId>
  /** An answer that has begun does not wait behind those that have not; the peer's own queue takes it. */
  readonly hasBegun: boolean
}

/** Allocates slots. */
export class Slots extends Context.Tag("@weft/entry/Slots")<
  Slots,
  {
    /** Waits for a slot and returns the link to its peer; the slot is free again when the scope closes. */
    readonly take: (request: SlotRequest) => Effect.Effect<Link, NoAnswer, Scope.Scope>
    /**
     * Gives free slots to those who wait, and ends the wait of those whom nobody serves any more; called when peers
     * came, went or said how they are, as the directory tells nobody.
     */
    readonly serveQueues: Effect.Effect<void>
  }
>() {
  static readonly layer = Layer.effect(
    Slots,
    Effect.suspend(() => make)
  )
}

/** A peer counts as busy when each of its slots has an answer; who waits does so here, where turns are fair. */
const perSlotMax = 1
/** An answer that has begun may also wait in a peer's own queue: its client sees no more than a pause. */
const perSlotMaxBegun = 5
/** Seconds after which a peer that lost its link is usually back. */
const retryAfterSecondsNoPeer = 5

// internal

/** Somebody who wants a slot: in the line of its model until `granted` is done. */
interface Waiter {
  readonly request: SlotRequest
  readonly ticket: ModelQueue.Ticket
  readonly granted: Deferred.Deferred<Seat, NoAnswer>
  seat: Seat | undefined
}

interface Line {
  queue: ModelQueue.ModelQueue
  readonly waiters: Map<ModelQueue.Ticket, Waiter>
}

const make = Effect.gen(function* () {
  const { snapshot } = yield* PeerDirectoryActor
  const lines = new Lines(yield* Links)
  const step = <A>(take: (directory: PeerDirectory, nowMs: number) => A): Effect.Effect<A> =>
    Effect.flatMap(Clock.currentTimeMillis, (nowMs) => Effect.map(snapshot, (directory) => take(directory, nowMs)))

  const take = Effect.fnUntraced(function* (request: SlotRequest, restore: Restore) {
    const waiter = yield* step((directory, nowMs) => lines.enter(directory, request, nowMs))
    const seat = yield* Effect.onInterrupt(restore(Deferred.await(waiter.granted)), () =>
      step((directory, nowMs) => lines.giveUp(directory, waiter, nowMs))
    )
    yield* Effect.addFinalizer(() => step((directory, nowMs) => lines.release(directory, request.model, seat, nowMs)))
    return seat.link
  })
  return {
    // Interruptible only while it waits: a slot that was entered and then forgotten would be lost for good.
    take: (request: SlotRequest) => Effect.uninterruptibleMask((restore) => take(request, restore)),
    serveQueues: step((directory, nowMs) => lines.serveAll(directory, nowMs))
  } satisfies typeof Slots.Service
})

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** The lines of all models. */
class Lines {
  readonly #links: typeof Links.Service
  readonly #lines = new Map<string, Line>()
  #tickets = 0

  constructor(links: typeof Links.Service) {
    this.#links = links
  }

  /** Gives a slot or a refusal at once, or a place in the line. */
  enter(directory: PeerDirectory, request: SlotRequest, nowMs: number): Waiter {
    const { caller, hasBegun, model } = request
    const granted = Deferred.unsafeMake<Seat, NoAnswer>(FiberId.none)
    const waiter: Waiter = { request, ticket: this.#tickets++, granted, seat: undefined }
    // Those who wait come first, should something be free that nobody told of yet.
    if (!hasBegun) this.#serve(directory, model, nowMs)
    const elected = this.#elect(directory, request)
    if (hasBegun || !isAllBusy(elected)) {
      this.#grant(waiter, elected, nowMs)
      return waiter
    }
    const line = this.#lineOf(model)
    const entry = ModelQueue.enter(line.queue, waiter.ticket, caller, slotsServing(directory, model))
    if (entry._tag === "Refused") {
      const retryAfterSeconds = Math.ceil(entry.retryAfterMs / 1_000)
      Deferred.unsafeDone(granted, new NoAnswer({ reason: "Overloaded", model, retryAfterSeconds }))
    } else {
      line.waiters.set(waiter.ticket, waiter)
      change(model, line, entry.queue)
    }
    return waiter
  }

  /** A client that left before it had what it waited for; a slot that was given to it in this moment goes on. */
  giveUp(directory: PeerDirectory, { request: { caller, model }, seat, ticket }: Waiter, nowMs: number): void {
    const line = this.#lineOf(model)
    if (line.waiters.delete(ticket)) change(model, line, ModelQueue.abandon(line.queue, ticket, caller))
    seat?.leave()
    this.#serve(directory, model, nowMs)
  }

  /** An answer has ended. */
  release(directory: PeerDirectory, model: string, seat: Seat, nowMs: number): void {
    seat.leave()
    const line = this.#lineOf(model)
    line.queue = ModelQueue.held(line.queue, nowMs - seat.sinceMs)
    this.#serve(directory, model, nowMs)
  }

  /** Serves every line; those of models that the directory forgot are forgotten, which bounds them as it is bounded. */
  serveAll(directory: PeerDirectory, nowMs: number): void {
    for (const [model, line] of this.#lines) {
      this.#serve(directory, model, nowMs)
      if (line.queue.length > 0 || directory.models.has(model)) continue
      this.#lines.delete(model)
      EntryMetrics.queued.remove({ model })
    }
  }

  /** Gives the slots of one model to those whose turn it is, as long as there are any. */
  #serve(directory: PeerDirectory, model: string, nowMs: number): void {
    const line = this.#lines.get(model)
    while (line !== undefined && line.queue.length > 0) {
      const electedByMost = this.#elect(directory, { model, excluded: new Set(), hasBegun: false })
      const electedBy = ({ request }: Waiter) =>
        request.excluded.size === 0 ? electedByMost : this.#elect(directory, request)
      const next = ModelQueue.take(line.queue, (ticket) => {
        const waiter = line.waiters.get(ticket)
        return waiter !== undefined && !isAllBusy(electedBy(waiter))
      })
      const waiter = next === undefined ? undefined : line.waiters.get(next.ticket)
      if (next === undefined || waiter === undefined) return
      line.waiters.delete(next.ticket)
      change(model, line, next.queue)
      this.#grant(waiter, electedBy(waiter), nowMs)
    }
  }

  #elect(directory: PeerDirectory, { excluded, hasBegun, model }: Omit<SlotRequest, "caller">): Elected {
    const options = { excluded, perSlotMax: hasBegun ? perSlotMaxBegun : perSlotMax }
    return elect(directory, model, this.#links.attachments(), options)
  }

  #grant(waiter: Waiter, elected: Elected, nowMs: number): void {
    const seat = Either.flatMap(elected, (peer) =>
      Either.fromNullable(this.#links.enter(peer, nowMs), () => new NobodyElected({ reason: "NoPeer" }))
    )
    waiter.seat = Either.getOrUndefined(seat)
    Deferred.unsafeDone(
      waiter.granted,
      Either.mapLeft(seat, ({ reason }) => noAnswer(waiter.request.model, reason))
    )
  }

  #lineOf(model: string): Line {
    const line = this.#lines.get(model) ?? { queue: ModelQueue.empty, waiters: new Map() }
    this.#lines.set(model, line)
    return line
  }
}

type Elected = ReturnType<typeof elect>

const isAllBusy = (elected: Elected): boolean => Either.isLeft(elected) && elected.left.reason === "AllBusy"

const change = (model: string, line: Line, queue: ModelQueue.ModelQueue): void => {
  line.queue = queue
  EntryMetrics.queued.set({ model }, queue.length)
}

const noAnswer = (model: string, reason: NobodyElected["reason"]): NoAnswer => {
  switch (reason) {
    case "UnknownModel":
      return new NoAnswer({ reason: "ModelNotFound", model })
    case "NoPeer":
      return new NoAnswer({ reason: "NoPeer", model, retryAfterSeconds: retryAfterSecondsNoPeer })
    case "AllBusy":
      return new NoAnswer({ reason: "Overloaded", model, retryAfterSeconds: 1 })
  }
}
