/**
 * Answers from the mesh: elects a peer, asks it, and where it fails has another go on with the same answer. Owns one fiber
 * per answer, which lives as long as the caller's scope.
 */
import { ask } from "@weft/engine/GenerateStream"
import type { GenerateEvent, GenerateRequest } from "@weft/engine/Generation"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import type { PeerId } from "@weft/mesh/PeerId"
import { elect, type NobodyElected } from "@weft/mesh/SoloElection"
import { Deferred, Effect, Either, Layer, Mailbox, Schedule } from "effect"
import { EntryConfig } from "./EntryConfig.ts"
import * as EntryMetrics from "./EntryMetrics.ts"
import { Failover, type PartEnd } from "./Failover.ts"
import { Inference, NoAnswer, type ServedModel } from "./Inference.ts"
import { Links } from "./Links.ts"

/** Peers asked for an answer before it has begun: a fourth machine would hardly fare better than three. */
const triesMax = 3
/** Events that wait for a slow client before the stream's credit holds the peer. */
const eventsWaitingMax = 256
/** Seconds after which a client may come again when every peer is busy: about one short answer. */
const retryAfterSecondsBusy = 2
/** Seconds after which a peer that lost its link is usually back. */
const retryAfterSecondsNoPeer = 5

/**
 * How an answer that has begun waits for a peer to go on with: an engine host is back within half a second, a peer that
 * was started again within a few.
 */
const patience = Schedule.spaced("50 millis").pipe(Schedule.upTo("5 seconds"))

/** The mesh behind the HTTP door. */
export const layer = Layer.effect(
  Inference,
  Effect.gen(function* () {
    const directory = yield* PeerDirectoryActor
    const links = yield* Links
    const { maxFailovers } = yield* EntryConfig

    const models = Effect.map(directory.snapshot, ({ models, peers }) =>
      [...models.values()].flatMap(({ description, sinceMs }): ReadonlyArray<ServedModel> => {
        const holders = [...peers.values()].filter(({ info }) => info.models.some(({ id }) => id === description.id))
        return holders.length === 0 ? [] : [{ description, sinceMs, peers: holders.length }]
      })
    )

    const choose = (model: string, tried: ReadonlySet<PeerId>) =>
      Effect.flatMap(directory.snapshot, (snapshot) => elect(snapshot, model, links.attachments(), tried))

    /** Picks the next peer; an answer that has begun waits for one, those that failed it included. */
    const next = (answer: Failover, model: string) =>
      answer.hasBegun
        ? choose(model, answer.tried).pipe(
            Effect.catchAll(() =>
              Effect.suspend(() => {
                answer.forgive()
                return choose(model, answer.tried)
              }).pipe(Effect.retry(patience))
            )
          )
        : choose(model, answer.tried)

    const part = (peer: PeerId, answer: Failover, deliver: (event: GenerateEvent) => Effect.Effect<unknown>) =>
      Effect.gen(function* () {
        const link = links.find(peer)
        if (link === undefined) return lostLink
        yield* links.occupy(peer)
        return yield* ask(link, answer.request, (event) => (answer.passes(event) ? deliver(event) : Effect.void))
      }).pipe(Effect.scoped)

    const generate = Effect.fn("MeshInference.generate")(function* (request: GenerateRequest) {
      const events = yield* Mailbox.make<GenerateEvent>({ capacity: eventsWaitingMax })
      const begun = yield* Deferred.make<PeerId, NoAnswer>()
      const answer = new Failover(request, { triesMax, failoversMax: maxFailovers })
      let last: PartEnd | undefined
      const wander = Effect.gen(function* () {
        while (true) {
          const elected = yield* Effect.either(next(answer, request.model))
          if (Either.isLeft(elected)) {
            return last === undefined
              ? yield* Deferred.fail(begun, noAnswer(request.model, elected.left.reason))
              : yield* events.offer(last)
          }
          const peer = elected.right
          answer.asked(peer)
          const verdict = answer.ended(
            yield* part(peer, answer, (event) => {
              Deferred.unsafeDone(begun, Effect.succeed(peer))
              return events.offer(event)
            })
          )
          last = verdict.last
          if (verdict._tag === "Over") {
            Deferred.unsafeDone(begun, Effect.succeed(peer))
            return yield* events.offer(verdict.last)
          }
          EntryMetrics.rerouted.inc({ kind: verdict.kind })
        }
      })
      yield* Effect.forkScoped(Effect.ensuring(wander, events.end))
      return { servedBy: yield* Deferred.await(begun), events }
    })
    return { models, generate }
  })
)

// internal

const lostLink: PartEnd = { _tag: "Failed", failure: { code: "engine_lost", message: "the link to the peer is gone" } }

const noAnswer = (model: string, reason: NobodyElected["reason"]): NoAnswer => {
  switch (reason) {
    case "UnknownModel":
      return new NoAnswer({ reason: "ModelNotFound", model })
    case "NoPeer":
      return new NoAnswer({ reason: "NoPeer", model, retryAfterSeconds: retryAfterSecondsNoPeer })
    case "AllBusy":
      return new NoAnswer({ reason: "Overloaded", model, retryAfterSeconds: retryAfterSecondsBusy })
  }
}
