/**
 * Answers from the mesh: takes a slot of a peer, asks it, and where it fails has another go on with the same answer.
 * One object per answer, called by the slots and by the peer's stream and calling the door's listener; a fiber exists
 * only while an answer that has begun waits for a peer.
 */
import { ask } from "@weft/engine/GenerateCall"
import { type GenerateEvent, type GenerateRequest, isLast } from "@weft/engine/Generation"
import * as PeerDirectory from "@weft/mesh/PeerDirectory"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import { Clock, Effect, Either, FiberSet, Layer } from "effect"
import { EntryConfig } from "./EntryConfig.ts"
import * as EntryMetrics from "./EntryMetrics.ts"
import { Demand } from "./election/Demand.ts"
import { Failover, type PartEnd } from "./Failover.ts"
import { type AnswerListener, type Asker, Inference, type NoAnswer, type ServedModel } from "./Inference.ts"
import type { Suits } from "./routing/Eligible.ts"
import type { Outcome } from "./routing/Errand.ts"
import type { PromptBlocks } from "./routing/PromptBlocks.ts"
import { type SlotSeat, Slots } from "./Slots.ts"
import * as SplitActivations from "./split/SplitActivations.ts"

/** Peers asked for an answer before it has begun: a fourth machine would hardly fare better than three. */
const triesMax = 3

/** How often an answer that has begun looks for a peer to go on with: an engine host is back within half a second. */
const lookEveryMs = 50
/** Looks before it gives up: in 5 s a peer that was started again is back. */
const looksMax = 100

/** The mesh behind the HTTP door. */
export const layer = Layer.scoped(
  Inference,
  Effect.gen(function* () {
    const { unsafeSnapshot } = yield* PeerDirectoryActor
    const slots = yield* Slots
    const demand = yield* Demand
    const { maxFailovers: failoversMax, splitActivations } = yield* EntryConfig
    const run = yield* FiberSet.makeRuntime<never>()
    const surroundings: Surroundings = {
      slots,
      failoversMax,
      suitsExact: (served) => SplitActivations.isExact(splitActivations, served),
      later: (act) => void run(Effect.zipRight(Clock.sleep(lookEveryMs), Effect.sync(act)))
    }
    return {
      models: () => {
        const directory = unsafeSnapshot()
        return [...directory.models.keys()].flatMap((id) => served(directory, id) ?? [])
      },
      find: (id) => served(unsafeSnapshot(), id),
      generate: (request, asker, listener) => {
        demand.asked(request.model)
        const answer = new MeshAnswer(surroundings, request, asker, listener)
        answer.look()
        return () => answer.cancel()
      }
    }
  })
)

// internal

const served = (directory: PeerDirectory.PeerDirectory, id: string): ServedModel | undefined => {
  const model = directory.models.get(id)
  const peers = model === undefined ? 0 : PeerDirectory.holding(directory, id).length
  if (model === undefined || peers === 0) return undefined
  return { ...model, peers, stages: () => PeerDirectory.stagesServing(directory, id) }
}

/** What all answers share. */
interface Surroundings {
  readonly slots: typeof Slots.Service
  readonly failoversMax: number
  /** What requests for exact answers want. */
  readonly suitsExact: Suits
  /** Calls back after `lookEveryMs`. */
  readonly later: (act: () => void) => void
}

/** One answer on its way through one or more peers; `Failover.ts` decides, this carries out. */
class MeshAnswer {
  readonly #surroundings: Surroundings
  readonly #asker: Asker
  readonly #listener: AnswerListener
  readonly #failover: Failover
  readonly #model: string
  readonly #suits: Suits | undefined
  readonly #prompt: PromptBlocks
  #hasPeer = false
  #hasMoved = false
  #isOver = false
  /** Looks without success since the last peer failed. */
  #looks = 0
  #failed: { readonly seat: SlotSeat; readonly last: PartEnd } | undefined
  /** Ends what it waits for now: a slot, or a peer's events. */
  #letGo: () => void = () => {}

  constructor(surroundings: Surroundings, request: GenerateRequest, asker: Asker, listener: AnswerListener) {
    this.#surroundings = surroundings
    this.#model = request.model
    this.#suits = request.profile === "exact" ? surroundings.suitsExact : undefined
    this.#asker = asker
    this.#prompt = surroundings.slots.readPrompt(request.model, asker.caller, request.prompt)
    this.#listener = listener
    this.#failover = new Failover(request, { triesMax, failoversMax: surroundings.failoversMax })
  }

  /** Takes a slot for the next part of the answer, or waits for one. */
  look(): void {
    if (this.#isOver) return
    const { hasBegun, tried } = this.#failover
    const letGo = this.#surroundings.slots.take(
      { ...this.#asker, model: this.#model, prompt: this.#prompt, excluded: tried, hasBegun, suits: this.#suits },
      (seat) => (Either.isLeft(seat) ? this.#refused(seat.left) : this.#ask(seat.right))
    )
    // Where the slot was there at once, `#ask` has set what is to be let go.
    if (letGo !== undefined) this.#letGo = letGo
  }

  cancel(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#letGo()
  }

  #ask(seat: SlotSeat): void {
    const { peer } = seat.link
    const { request } = this.#failover
    const after = this.#failover.asked(peer)
    if (after !== undefined) EntryMetrics.rerouted.inc({ kind: after })
    const cancel = ask(seat.link, request, (events) => this.#told(seat, events))
    this.#letGo = () => {
      cancel()
      seat.leave("none")
    }
  }

  #told(seat: SlotSeat, events: ReadonlyArray<GenerateEvent>): void {
    const passed: Array<GenerateEvent> = []
    for (const event of events) {
      if (isLast(event)) {
        this.#partEnded(seat, passed, event)
        return
      }
      if (event._tag === "Delta" && event.text !== "") seat.begun()
      if (this.#failover.passes(event)) passed.push(event)
    }
    this.#tell(seat, passed)
  }

  #partEnded(seat: SlotSeat, passed: Array<GenerateEvent>, last: PartEnd): void {
    const verdict = this.#failover.ended(last)
    if (verdict._tag === "Over") {
      this.#end(seat, [...passed, verdict.last])
      seat.leave(outcomeOf(last))
    } else {
      this.#tell(seat, passed)
      seat.leave(outcomeOf(last))
      this.#failed = { seat, last }
      this.#looks = 0
      this.look()
    }
  }

  /** No slot for the next part: an answer that has begun looks again, its failed peers included. */
  #refused(why: NoAnswer): void {
    if (this.#failover.hasBegun && this.#looks++ < looksMax) {
      this.#failover.forgive()
      this.#letGo = () => {}
      this.#surroundings.later(() => this.look())
    } else if (this.#failed !== undefined) this.#end(this.#failed.seat, [this.#failed.last])
    else {
      this.#isOver = true
      this.#listener.refused(why)
    }
  }

  #end(seat: SlotSeat, events: ReadonlyArray<GenerateEvent>): void {
    this.#tell(seat, events)
    this.#isOver = true
  }

  #tell({ link, mode }: SlotSeat, events: ReadonlyArray<GenerateEvent>): void {
    if (this.#isOver || events.length === 0) return
    if (!this.#hasPeer) {
      this.#hasPeer = true
      this.#listener.begun(link.peer, `mesh:${mode}`)
    }
    if (this.#failed !== undefined && !this.#hasMoved) {
      this.#hasMoved = true
      this.#listener.moved()
    }
    this.#listener.events(events)
  }
}

/** A peer is not to blame for what any other would refuse too, nor for being full or on its way out. */
const outcomeOf = (last: PartEnd): Outcome => {
  if (last._tag === "Finished") return "whole"
  switch (last.failure.code) {
    case "engine_lost":
    case "internal":
    case "model_not_found":
      return "failed"
    case "overloaded":
    case "shutting_down":
    case "cancelled":
    case "context_length_exceeded":
    case "invalid_request":
      return "none"
  }
}
