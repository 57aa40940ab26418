/**
 * Answers from the mesh: takes a slot of a peer, asks it, and where it fails has another go on with the same answer.
 * Owns one fiber per answer, which a cancel interrupts.
 */
import { ask } from "@weft/engine/GenerateStream"
import type { GenerateEvent, GenerateRequest } from "@weft/engine/Generation"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import type { PeerId } from "@weft/mesh/PeerId"
import { Chunk, Deferred, Effect, Either, FiberId, FiberSet, Layer, Mailbox, Schedule, type Scope } from "effect"
import { EntryConfig } from "./EntryConfig.ts"
import * as EntryMetrics from "./EntryMetrics.ts"
import { Failover, type PartEnd } from "./Failover.ts"
import { type AnswerListener, Inference, type NoAnswer, type ServedModel } from "./Inference.ts"
import { Slots } from "./Slots.ts"

/** Peers asked for an answer before it has begun: a fourth machine would hardly fare better than three. */
const triesMax = 3
/** Events that wait for a slow client before the stream's credit holds the peer. */
const eventsWaitingMax = 256

/**
 * How an answer that has begun waits for a peer to go on with: an engine host is back within half a second, a peer that
 * was started again within a few.
 */
const patience = Schedule.spaced("50 millis").pipe(Schedule.upTo("5 seconds"))

/** The mesh behind the HTTP door. */
export const layer = Layer.scoped(
  Inference,
  Effect.gen(function* () {
    const directory = yield* PeerDirectoryActor
    const slots = yield* Slots
    const { maxFailovers } = yield* EntryConfig

    const begin = Effect.fnUntraced(function* (request: GenerateRequest, caller: string) {
      const events = yield* Mailbox.make<GenerateEvent>({ capacity: eventsWaitingMax })
      const begun = yield* Deferred.make<PeerId, NoAnswer>()
      const answer = new Failover(request, { triesMax, failoversMax: maxFailovers })
      const deliver = (peer: PeerId, event: GenerateEvent) => {
        Deferred.unsafeDone(begun, Effect.succeed(peer))
        return events.offer(event)
      }
      /** One peer's part of the answer, from the slot it takes to its last event. */
      const part = Effect.gen(function* () {
        const { hasBegun, request, tried } = answer
        const link = yield* slots.take({ model: request.model, caller, excluded: tried, hasBegun })
        const { peer } = link
        const after = answer.asked(peer)
        if (after !== undefined) EntryMetrics.rerouted.inc({ kind: after })
        const last = yield* ask(link, request, (event) => (answer.passes(event) ? deliver(peer, event) : Effect.void))
        return { peer, last }
      }).pipe(Effect.scoped)
      /** An answer that has begun waits for a peer, those that failed it included. */
      const patientPart = part.pipe(
        Effect.tapError(() => Effect.sync(() => answer.forgive())),
        Effect.retry(patience)
      )
      const wander = Effect.gen(function* () {
        let failed: { readonly peer: PeerId; readonly last: PartEnd } | undefined
        while (true) {
          const ended = yield* Effect.either(answer.hasBegun ? patientPart : part)
          if (Either.isLeft(ended)) {
            return failed === undefined ? yield* ended.left : yield* deliver(failed.peer, failed.last)
          }
          const verdict = answer.ended(ended.right.last)
          if (verdict._tag === "Over") return yield* deliver(ended.right.peer, verdict.last)
          failed = ended.right
        }
      })
      yield* wander.pipe(
        Effect.onError((cause) => Deferred.failCause(begun, cause)),
        Effect.ensuring(events.end),
        Effect.forkScoped
      )
      return { servedBy: yield* Deferred.await(begun), events }
    })
    const run = yield* FiberSet.makeRuntime<never>()

    return {
      models: () => [...directory.unsafeSnapshot().models.keys()].flatMap((id) => find(directory, id) ?? []),
      find: (model) => find(directory, model),
      generate: (request, caller, listener) => {
        const line = whileOpen(listener)
        const fiber = run(tell(begin(request, caller), line))
        return () => {
          line.close()
          fiber.unsafeInterruptAsFork(FiberId.none)
        }
      }
    }
  })
)

// internal

/** The last event of an answer that a fault in the entry ended. */
const broken: GenerateEvent = { _tag: "Failed", failure: { code: "internal", message: "the entry failed" } }

/** Represents an answer under way; its events end after `Finished` or `Failed`. */
interface Answer {
  readonly servedBy: PeerId
  readonly events: Mailbox.ReadonlyMailbox<GenerateEvent>
}

/** Tells what becomes of an answer, to its end. */
const tell = (begin: Effect.Effect<Answer, NoAnswer, Scope.Scope>, listener: AnswerListener): Effect.Effect<void> =>
  Effect.gen(function* () {
    const { events, servedBy } = yield* begin
    listener.begun(servedBy)
    let isOver = false
    while (!isOver) {
      const [batch, done] = yield* events.takeAll
      if (Chunk.isNonEmpty(batch)) listener.events(Chunk.toReadonlyArray(batch))
      isOver = done
    }
  }).pipe(
    Effect.scoped,
    Effect.catchTag("NoAnswer", (why) => Effect.sync(() => listener.refused(why))),
    Effect.catchAllDefect((defect) =>
      Effect.zipRight(
        Effect.logError("an answer broke", defect),
        Effect.sync(() => listener.events([broken]))
      )
    )
  )

const find = (directory: typeof PeerDirectoryActor.Service, model: string): ServedModel | undefined => {
  const { models, peers } = directory.unsafeSnapshot()
  const known = models.get(model)
  if (known === undefined) return undefined
  const holders = [...peers.values()].filter(({ info }) => info.models.some(({ id }) => id === model))
  return holders.length === 0 ? undefined : { ...known, peers: holders.length }
}

/** Returns a listener that passes on what it is told until it is closed. */
const whileOpen = (listener: AnswerListener): AnswerListener & { readonly close: () => void } => {
  let isOpen = true
  return {
    begun: (servedBy) => (isOpen ? listener.begun(servedBy) : undefined),
    events: (events) => (isOpen ? listener.events(events) : undefined),
    refused: (why) => (isOpen ? listener.refused(why) : undefined),
    close: () => {
      isOpen = false
    }
  }
}
