/**
 * Gives each answer a slot of a peer, or a place in the queue of its model until one is free. Owns the queues; a slot that
 * becomes free is given on at once, without a timer.
 */
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import type { PeerId } from "@weft/mesh/PeerId"
import { elect, type NobodyElected, slotsServing } from "@weft/mesh/SoloElection"
import { Clock, Context, Deferred, Effect, Either, FiberId, Layer, Option, type Scope } from "effect"
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
    /** Waits for a slot and returns its peer; the slot is free again when the scope closes. */
    readonly take: (request: SlotRequest) => Effect.Effect<PeerId, NoAnswer, Scope.Scope>
    /** Gives free slots to those who wait; called when peers came or became ready, as the directory tells nobody. */
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

interface Waiter {
  readonly request: SlotRequest
  readonly granted: Deferred.Deferred<Seat, NoAnswer>
}

interface Line {
  queue: ModelQueue.ModelQueue
  readonly waiters: Map<ModelQueue.Ticket, Waiter>
}

const make = Effect.gen(function* () {
  const directory = yield* PeerDirectoryActor
  const links = yield* Links
  const lines = new Map<string, Line>()
  let tickets = 0

  const lineOf = (model: string): Line => {
    const line = lines.get(model) ?? { queue: ModelQueue.empty, waiters: new Map<ModelQueue.Ticket, Waiter>() }
    lines.set(model, line)
    return line
  }
  const choose = ({ excluded, hasBegun, model }: SlotRequest) =>
    Effect.map(directory.snapshot, (snapshot) =>
      elect(snapshot, model, links.attachments(), { excluded, perSlotMax: hasBegun ? perSlotMaxBegun : perSlotMax })
    )

  /** Gives the slots of one model to those whose turn it is, as long as there are any. */
  const serve = (model: string, line: Line, nowMs: number): Effect.Effect<void> =>
    Effect.gen(function* () {
      while (true) {
        const next = ModelQueue.take(line.queue)
        const waiter = next === undefined ? undefined : line.waiters.get(next.ticket)
        if (next === undefined || waiter === undefined) return
        const elected = yield* choose(waiter.request)
        if (Either.isLeft(elected) && elected.left.reason === "AllBusy") return
        line.queue = next.queue
        line.waiters.delete(next.ticket)
        EntryMetrics.queued.set({ model }, line.queue.length)
        const granted = Either.isRight(elected)
          ? Effect.succeed(links.enter(elected.right, nowMs))
          : Effect.fail(noAnswer(model, elected.left.reason))
        Deferred.unsafeDone(waiter.granted, granted)
      }
    })

  const release = (model: string, seat: Seat) =>
    Effect.flatMap(Clock.currentTimeMillis, (nowMs) => {
      seat.leave()
      const line = lineOf(model)
      line.queue = ModelQueue.held(line.queue, nowMs - seat.sinceMs)
      return serve(model, line, nowMs)
    })

  /** Stands in line until a slot is given; `restore` lets the caller leave meanwhile. */
  const wait = (request: SlotRequest, slots: number, restore: Restore): Effect.Effect<Seat, NoAnswer> =>
    Effect.suspend(() => {
      const { caller, model } = request
      const line = lineOf(model)
      const ticket = tickets++
      const entry = ModelQueue.enter(line.queue, ticket, caller, slots)
      if (entry._tag === "Refused") {
        const retryAfterSeconds = Math.ceil(entry.retryAfterMs / 1_000)
        return new NoAnswer({ reason: "Overloaded", model, retryAfterSeconds })
      }
      const granted = Deferred.unsafeMake<Seat, NoAnswer>(FiberId.none)
      line.queue = entry.queue
      line.waiters.set(ticket, { request, granted })
      EntryMetrics.queued.set({ model }, line.queue.length)
      return Effect.onInterrupt(restore(Deferred.await(granted)), () => giveUp(line, ticket, request, granted))
    })

  /** A client that left while it waited; a slot that was given to it in the same moment goes to the next. */
  const giveUp = (line: Line, ticket: number, { caller, model }: SlotRequest, granted: Waiter["granted"]) =>
    Effect.gen(function* () {
      line.queue = ModelQueue.abandon(line.queue, ticket, caller)
      line.waiters.delete(ticket)
      EntryMetrics.queued.set({ model }, line.queue.length)
      const done = yield* Deferred.poll(granted)
      if (Option.isNone(done)) return
      const seat = yield* Effect.option(done.value)
      if (Option.isSome(seat)) yield* release(model, seat.value)
    })

  const take = (request: SlotRequest, restore: Restore) =>
    Effect.gen(function* () {
      const { hasBegun, model } = request
      const elected = yield* choose(request)
      if (Either.isRight(elected) && (hasBegun || lineOf(model).queue.length === 0)) {
        return links.enter(elected.right, yield* Clock.currentTimeMillis)
      }
      if (Either.isLeft(elected) && (elected.left.reason !== "AllBusy" || hasBegun)) {
        return yield* noAnswer(model, elected.left.reason)
      }
      return yield* wait(request, slotsServing(yield* directory.snapshot, model), restore)
    })

  return {
    // Interruptible only while it waits: a slot that was entered and then forgotten would be lost for good.
    take: (request: SlotRequest) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const seat = yield* take(request, restore)
          yield* Effect.addFinalizer(() => release(request.model, seat))
          return seat.peer
        })
      ),
    serveQueues: Effect.flatMap(Clock.currentTimeMillis, (nowMs) =>
      Effect.forEach(lines, ([model, line]) => serve(model, line, nowMs), { discard: true })
    )
  } satisfies typeof Slots.Service
})

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

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
