/**
 * Gives each answer a slot of a peer, or a place in the queue of its model until one is free. Owns the queues; a slot
 * that becomes free is given on at once, without a timer. Every step is synchronous: nobody ever sees half of one.
 */
import { none as noLabels } from "@weft/mesh/Labels"
import type { PeerDirectory } from "@weft/mesh/PeerDirectory"
import { slotsServing } from "@weft/mesh/PeerDirectory"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import { type PeerId, toShort } from "@weft/mesh/PeerId"
import { Context, Effect, Either, Layer, Random } from "effect"
import { EntryConfig } from "./EntryConfig.ts"
import * as EntryMetrics from "./EntryMetrics.ts"
import * as DoorLog from "./http/DoorLog.ts"
import { type Asker, NoAnswer } from "./Inference.ts"
import { Links, type Seat } from "./Links.ts"
import * as ModelQueue from "./ModelQueue.ts"
import { Performance } from "./performance/Performance.ts"
import type { Mode } from "./performance/PerformanceState.ts"
import type { Nobody, Suits, View, Wanted } from "./routing/Eligible.ts"
import type { Outcome } from "./routing/Errand.ts"
import { policies } from "./routing/Policies.ts"
import type { PromptBlocks } from "./routing/PromptBlocks.ts"
import { type Route, Router } from "./routing/Router.ts"
import * as RoutingMetrics from "./routing/RoutingMetrics.ts"

/** Represents who wants a slot and for what. */
export interface SlotRequest extends Asker {
  readonly model: string
  readonly prompt: PromptBlocks
  /** Peers that failed this answer already. */
  readonly excluded: ReadonlySet<PeerId>
  /** An answer that has begun does not wait behind those that have not; the peer's own queue takes it. */
  readonly hasBegun: boolean
  /** Tells which ways to serve the model are exact enough; all are where absent. */
  readonly suits?: Suits | undefined
}

/** Represents a slot of a peer that an answer has. */
export interface SlotSeat extends Pick<Seat, "link" | "sinceMs"> {
  readonly mode: Mode
  /** The first text came; calls after the first do nothing. */
  readonly begun: () => void
  /** Frees it, once. */
  readonly leave: (outcome: Outcome) => void
}

/** Allocates slots. */
export class Slots extends Context.Tag("@weft/entry/Slots")<
  Slots,
  {
    /** Returns a prompt as the choice of its peer needs it. */
    readonly readPrompt: Router["readPrompt"]
    /**
     * Tells `granted` once which slot it got or why there is none: at once, or when its turn has come. Returns what
     * gives the wait up; undefined where it was told at once.
     */
    readonly take: (
      request: SlotRequest,
      granted: (seat: Either.Either<SlotSeat, NoAnswer>) => void
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

type Granted = (seat: Either.Either<SlotSeat, NoAnswer>) => void

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
  const { routing, trust } = yield* EntryConfig
  const performance = yield* Performance
  const turn = yield* Random.nextIntBetween(0, turnsBegin)
  const router = new Router({ policy: policies[routing], trust, turn, figuresOf: performance.of })
  const lines = new Lines({
    router,
    links: yield* Links,
    directory: unsafeSnapshot,
    nowMs: () => clock.unsafeCurrentTimeMillis(),
    log: yield* DoorLog.make
  })
  RoutingMetrics.observe(router, () => clock.unsafeCurrentTimeMillis())
  return {
    readPrompt: (model, caller, prompt) => router.readPrompt(model, caller, prompt),
    take: (request: SlotRequest, granted: Granted) => lines.take(request, granted),
    serveQueues: Effect.sync(() => lines.serveAll())
  } satisfies typeof Slots.Service
})

/** Draws of entries begin this far apart at most; any number will do. */
const turnsBegin = 65_536

interface LinesOptions {
  readonly router: Router
  readonly links: typeof Links.Service
  readonly directory: () => PeerDirectory
  readonly nowMs: () => number
  readonly log: DoorLog.DoorLog
}

/** The lines of all models. */
class Lines {
  readonly #router: Router
  readonly #links: typeof Links.Service
  readonly #directory: () => PeerDirectory
  readonly #nowMs: () => number
  readonly #log: DoorLog.DoorLog
  readonly #lines = new Map<string, Line>()
  #tickets = 0

  constructor({ directory, links, log, nowMs, router }: LinesOptions) {
    this.#router = router
    this.#links = links
    this.#directory = directory
    this.#nowMs = nowMs
    this.#log = log
  }

  /** Gives a slot or a refusal at once, or a place in the line. */
  take(request: SlotRequest, granted: Granted): (() => void) | undefined {
    const { caller, hasBegun, model } = request
    // Those who wait come first, should something be free that nobody told of yet.
    if (!hasBegun) this.#serve(model)
    const route = this.#choose(request)
    if (hasBegun || !isAllBusy(route)) {
      granted(this.#seat(request, route))
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
    this.#router.prune(this.#directory())
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
      const isBusyForMost = this.#isBusy({ model, excluded: nobody, labels: noLabels, hasBegun: false })
      const next = ModelQueue.take(line.queue, (ticket) => {
        const waiter = line.waiters.get(ticket)
        if (waiter === undefined) return false
        return !(isChoosy(waiter.request) ? this.#isBusy(waiter.request) : isBusyForMost)
      })
      const waiter = next === undefined ? undefined : line.waiters.get(next.ticket)
      if (next === undefined || waiter === undefined) return
      line.waiters.delete(next.ticket)
      change(model, line, next.queue)
      waiter.granted(this.#seat(waiter.request, this.#choose(waiter.request)))
    }
  }

  #view(): View {
    return { directory: this.#directory(), attachments: this.#links.attachments(), nowMs: this.#nowMs() }
  }

  #isBusy(request: Omit<Wanted & SlotRequest, "caller" | "perSlotMax" | "prompt">): boolean {
    return this.#router.refusal(this.#view(), wantedOf(request))?.reason === "AllBusy"
  }

  #choose(request: SlotRequest): Chosen {
    return this.#router.choose(this.#view(), wantedOf(request), request.prompt)
  }

  /** Takes the slot at the chosen peer. */
  #seat({ caller, hasBegun, model }: SlotRequest, chosen: Chosen): Either.Either<SlotSeat, NoAnswer> {
    if (Either.isLeft(chosen)) return Either.left(noAnswer(model, chosen.left))
    const { candidate, explanation } = chosen.right.choice
    const seat = this.#links.enter(candidate.peer, this.#nowMs())
    if (seat === undefined) return Either.left(noAnswer(model, { reason: "NoPeer" }))
    const { mode, peer } = candidate
    if (this.#log.keepsDebug) {
      const { prediction, ...why } = explanation
      this.#log.debug("routed", { model, caller, peer: toShort(peer), mode, ...why, ...prediction })
    }
    const errand = this.#router.sent(chosen.right, hasBegun, this.#nowMs())
    let isHeld = true
    return Either.right({
      link: seat.link,
      sinceMs: seat.sinceMs,
      mode,
      begun: () => errand.begun(this.#nowMs()),
      leave: (outcome) => {
        if (!isHeld) return
        isHeld = false
        errand.ended(outcome, this.#nowMs())
        this.#release(model, seat)
      }
    })
  }

  #lineOf(model: string): Line {
    const line = this.#lines.get(model) ?? { queue: ModelQueue.empty, waiters: new Map() }
    this.#lines.set(model, line)
    return line
  }
}

type Chosen = Either.Either<Route, Nobody>

const nobody: ReadonlySet<PeerId> = new Set()

/** Whether some peers are not good enough, so that one may be free and the request wait still. */
const isChoosy = ({ excluded, labels, suits }: SlotRequest): boolean =>
  excluded.size > 0 || suits !== undefined || labels.region !== undefined || labels.trust !== undefined

const wantedOf = <R extends Omit<Wanted, "perSlotMax"> & Pick<SlotRequest, "hasBegun">>(request: R): Wanted => ({
  ...request,
  perSlotMax: request.hasBegun ? perSlotMaxBegun : perSlotMax
})

const isAllBusy = (chosen: Chosen): boolean => Either.isLeft(chosen) && chosen.left.reason === "AllBusy"

const change = (model: string, line: Line, queue: ModelQueue.ModelQueue): void => {
  line.queue = queue
  EntryMetrics.queued.set({ model }, queue.length)
}

const noAnswer = (model: string, nobody: Nobody): NoAnswer => {
  switch (nobody.reason) {
    case "UnknownModel":
      return new NoAnswer({ reason: "ModelNotFound", model })
    case "NoPeer": {
      const label = nobody.label === undefined ? {} : { label: nobody.label }
      return new NoAnswer({ reason: "NoPeer", model, retryAfterSeconds: retryAfterSecondsNoPeer, ...label })
    }
    case "NoneSuits":
      return new NoAnswer({ reason: "NotExact", model })
    case "AllBusy":
      return new NoAnswer({ reason: "Overloaded", model, retryAfterSeconds: 1 })
  }
}
