/** Answers from the mesh: elects a peer, asks it, and asks another where the first fails before it has begun. */
import { ask } from "@weft/engine/GenerateStream"
import type { GenerateEvent, GenerateRequest } from "@weft/engine/Generation"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import type { PeerId } from "@weft/mesh/PeerId"
import { elect, type NobodyElected } from "@weft/mesh/SoloElection"
import { Effect, Either, ExecutionStrategy, Exit, Layer, Option, Scope } from "effect"
import * as EntryMetrics from "./EntryMetrics.ts"
import { type Answer, Inference, NoAnswer, type ServedModel } from "./Inference.ts"
import { Links } from "./Links.ts"

/** Peers asked for one request before it is given up: a fourth machine would hardly fare better than three. */
const triesMax = 3
/** Seconds after which a client may come again when every peer is busy: about one short answer. */
const retryAfterSecondsBusy = 2
/** Seconds after which a peer that lost its link is usually back. */
const retryAfterSecondsNoPeer = 5

/** The mesh behind the HTTP door. */
export const layer = Layer.effect(
  Inference,
  Effect.gen(function* () {
    const directory = yield* PeerDirectoryActor
    const links = yield* Links

    const models = Effect.map(directory.snapshot, ({ models, peers }) =>
      [...models.values()].flatMap(({ description, sinceMs }): ReadonlyArray<ServedModel> => {
        const holders = [...peers.values()].filter(({ info }) => info.models.some(({ id }) => id === description.id))
        return holders.length === 0 ? [] : [{ description, sinceMs, peers: holders.length }]
      })
    )

    const generate = Effect.fn("MeshInference.generate")(function* (request: GenerateRequest) {
      const tried = new Set<PeerId>()
      let refused: Answer | undefined
      while (tried.size < triesMax) {
        const elected = elect(yield* directory.snapshot, request.model, links.attachments(), tried)
        if (Either.isLeft(elected)) return refused ?? (yield* noAnswer(request.model, elected.left.reason))
        if (tried.size > 0) EntryMetrics.routeRetries.inc()
        tried.add(elected.right)
        const begun = yield* begin(links, elected.right, request)
        if (Option.isSome(begun) && begun.value.first._tag !== "Failed") return begun.value.answer
        if (Option.isSome(begun)) {
          refused = begun.value.answer
          if (!isWorthAnother(begun.value.first)) return refused
        }
      }
      return refused ?? (yield* noAnswer(request.model, "NoPeer"))
    })
    return { models, generate }
  })
)

// internal

/**
 * Asks one peer and waits for its first event. A try that came to nothing releases its stream and its place at the peer
 * at once; what was begun lives as long as the caller's scope. `None` where the peer could not be reached.
 */
const begin = Effect.fnUntraced(function* (links: typeof Links.Service, peer: PeerId, request: GenerateRequest) {
  const attempt = yield* Scope.fork(yield* Effect.scope, ExecutionStrategy.sequential)
  const link = links.find(peer)
  if (link === undefined) return Option.none()
  const begun = yield* links.occupy(peer).pipe(
    Effect.zipRight(ask(link, request)),
    Effect.flatMap(({ events, first }) =>
      Effect.map(first, (first) => ({ first, answer: { servedBy: peer, events } }))
    ),
    Scope.extend(attempt),
    Effect.option
  )
  if (Option.isNone(begun) || begun.value.first._tag === "Failed") yield* Scope.close(attempt, Exit.void)
  return begun
})

/** Returns whether another peer may do better: not where the request itself is at fault. */
const isWorthAnother = (event: GenerateEvent): boolean =>
  event._tag === "Failed" && !["context_length_exceeded", "invalid_request"].includes(event.failure.code)

const noAnswer = (model: string, reason: NobodyElected["reason"]): Effect.Effect<never, NoAnswer> => {
  switch (reason) {
    case "UnknownModel":
      return new NoAnswer({ reason: "ModelNotFound", model })
    case "NoPeer":
      return new NoAnswer({ reason: "NoPeer", model, retryAfterSeconds: retryAfterSecondsNoPeer })
    case "AllBusy":
      return new NoAnswer({ reason: "Overloaded", model, retryAfterSeconds: retryAfterSecondsBusy })
  }
}
