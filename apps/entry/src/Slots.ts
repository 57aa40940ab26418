/**
 * Gives each answer a slot of a peer, or a place in the queue of its model until one is free. Owns the queues; a slot
 * that becomes free is given on at once, without a timer. Every step is synchronous: nobody ever sees half of one.
 */
import type { PeerDirectory } from "@weft/mesh/PeerDirectory"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import type { PeerId } from "@weft/mesh/PeerId"
import { elect, NobodyElected, type Suits, slotsServing } from "@weft/mesh/SoloElection"
import { Context, Effect, Either, Layer } from "effect"
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
  /** Tells which ways to serve the model are exact enough; all are where absent. */
  readonly suits?: Suits | undefined
}

/** Allocates slots. */
export class Slots extends Context.Tag("@weft/entry/Slots")<
  Slots,
  {
    /**
     * Tells `granted` once which slot it got or why there is none: at once, or when its turn has come. Returns what
     * gives the wait up; undefined where it was told at once.
     */
    readonly take: (
      request: SlotRequest,
      granted: (seat: Either.Either<Seat, NoAnswer>) => void
    ) => (() => void) | undefined
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

type Granted = (seat: Either.Either<Seat, NoAnswer>) => void

/** Somebody who waits for a slot, in the line of its model. */
interface Waiter {
  readonly request: SlotRequest
  readonly ticket: ModelQueue.Ticket
  readonly granted: Granted
}

interface Line {
  queue: ModelQueue.ModelQueue
  readonly waiters: Map<ModelQueue.Ticket, Waiter>
}

const make = Effect.gen(function* () {
  const { unsafeSnapshot } = yield* PeerDirectoryActor
  const clock = yield* Effect.clock
  const lines = new Lines(yield* Links, unsafeSnapshot, () => clock.unsafeCurrentTimeMillis())
  return {
    take: (request: SlotRequest, granted: Granted) => lines.take(request, granted),
    serveQueues: Effect.sync(() => lines.serveAll())
  } satisfies typeof Slots.Service
})

/** The lines of all models. */
class Lines {
  readonly #links: typeof Links.Service
  readonly #directory: () => PeerDirectory
  readonly #nowMs: () => number
  readonly #lines = new Map<string, Line>()
  #tickets = 0

  constructor(links: typeof Links.Service, directory: () => PeerDirectory, nowMs: () => number) {
    this.#links = links
    this.#directory = directory
    this.#nowMs = nowMs
  }

  /** Gives a slot or a refusal at once, or a place in the line. */
  take(request: SlotRequest, granted: Granted): (() => void) | undefined {
    const { caller, hasBegun, model } = request
    // Those who wait come first, should something be free that nobody told of yet.
    if (!hasBegun) this.#serve(model)
    const elected = this.#elect(request)
    if (hasBegun || !isAllBusy(elected)) {
      granted(this.#seat(request, elected))
      return undefined
    }
    const line = this.#lineOf(model)
    const ticket = this.#tickets++
    const entry = ModelQueue.enter(line.queue, ticket, caller, slotsServing(this.#directory(), model))
    if (entry._tag === "Refused") {
      const retryAfterSeconds = Math.ceil(entry.retryAfterMs / 1_000)
      granted(Either.left(new NoAnswer({ reason: "Overloaded", model, retryAfterSeconds })))
      return undefined
    }
    const waiter = { request, ticket, granted }
    line.waiters.set(ticket, waiter)
    change(model, line, entry.queue)
    return () => this.#giveUp(waiter)
  }

  /** Serves every line; those of models that the directory forgot are forgotten, which bounds them as it is bounded. */
  serveAll(): void {
    for (const [model, line] of this.#lines) {
      this.#serve(model)
      if (line.queue.length > 0 || this.#directory().models.has(model)) continue
      this.#lines.delete(model)
      EntryMetrics.queued.remove({ model })
    }
  }

  /** A client that left before it had what it waited for. */
  #giveUp({ request: { caller, model }, ticket }: Waiter): void {
    const line = this.#lineOf(model)
    if (line.waiters.delete(ticket)) change(model, line, ModelQueue.abandon(line.queue, ticket, caller))
  }

  /** An answer has ended. */
  #release(model: string, seat: Seat): void {
    seat.leave()
    const line = this.#lineOf(model)
    line.queue = ModelQueue.held(line.queue, this.#nowMs() - seat.sinceMs)
    this.#serve(model)
  }

  /** Gives the slots of one model to those whose turn it is, as long as there are any. */
  #serve(model: string): void {
    const line = this.#lines.get(model)
    while (line !== undefined && line.queue.length > 0) {
      const electedByMost = this.#elect({ model, excluded: nobody, hasBegun: false })
      const electedBy = ({ request }: Waiter) =>
        request.excluded.size === 0 && request.suits === undefined ? electedByMost : this.#elect(request)
      const next = ModelQueue.take(line.queue, (ticket) => {
        const waiter = line.waiters.get(ticket)
        return waiter !== undefined && !isAllBusy(electedBy(waiter))
      })
      const waiter = next === undefined ? undefined : line.waiters.get(next.ticket)
      if (next === undefined || waiter === undefined) return
      line.waiters.delete(next.ticket)
      change(model, line, next.queue)
      waiter.granted(this.#seat(waiter.request, electedBy(waiter)))
    }
  }

  #elect({ excluded, hasBegun, model, suits }: Omit<SlotRequest, "caller">): Elected {
    const options = { excluded, suits, perSlotMax: hasBegun ? perSlotMaxBegun : perSlotMax }
    return elect(this.#directory(), model, this.#links.attachments(), options)
  }

  /** Takes the slot at the elected peer. */
  #seat({ model }: SlotRequest, elected: Elected): Either.Either<Seat, NoAnswer> {
    const seat = Either.flatMap(elected, (peer) =>
      Either.fromNullable(this.#links.enter(peer, this.#nowMs()), () => new NobodyElected({ reason: "NoPeer" }))
    )
    return Either.mapBoth(seat, {
      onLeft: ({ reason }) => noAnswer(model, reason),
      onRight: (seat) => {
        let isHeld = true
        const leave = (): void => {
          if (!isHeld) return
          isHeld = false
          this.#release(model, seat)
        }
        return { ...seat, leave }
      }
    })
  }

  #lineOf(model: string): Line {
    const line = this.#lines.get(model) ?? { queue: ModelQueue.empty, waiters: new Map() }
    this.#lines.set(model, line)
    return line
  }
}

type Elected = ReturnType<typeof elect>

const nobody: ReadonlySet<PeerId> = new Set()

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
    case "NoneSuits":
      return new NoAnswer({ reason: "NotExact", model })
    case "AllBusy":
      return new NoAnswer({ reason: "Overloaded", model, retryAfterSeconds: 1 })
  }
}
