/** An entry with peers whose engines speak by script, over links of a memory network, and what asks it. */
import * as GenerateReply from "@weft/engine/GenerateReply"
import { type GenerateEvent, isLast } from "@weft/engine/Generation"
import { EntryConfig, type EntryConfigShape } from "@weft/entry/EntryConfig"
import { Demand } from "@weft/entry/election/Demand"
import { Inference, type NoAnswer } from "@weft/entry/Inference"
import { Links } from "@weft/entry/Links"
import * as MeshInference from "@weft/entry/MeshInference"
import { Performance } from "@weft/entry/performance/Performance"
import { Slots } from "@weft/entry/Slots"
import * as Link from "@weft/mesh/Link"
import { MemoryNetwork } from "@weft/mesh/MemoryNetwork"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import { Deferred, Effect, Either, Exit, Layer, Mailbox, type Scope } from "effect"
import { gather } from "../engine/asking.ts"
import { delta, finished, request, type Scripted, started } from "../engine/scripted.ts"
import { connect, endpoint } from "../mesh/links.ts"
import { peerInfo } from "../mesh/peers.ts"

/** Slots of every peer's model. */
export const slots = 1
/** Times an answer that has begun goes on elsewhere. */
export const maxFailovers = 2
/** Returns what an engine says that answers well. */
export const good = (text: string): ReadonlyArray<GenerateEvent> => [started, delta(text), finished(1)]

/** Joins a peer with this engine to the entry; returns its id and a way to lose it. */
const join = Effect.fnUntraced(function* (entry: Effect.Effect.Success<ReturnType<typeof endpoint>>, engine: Scripted) {
  const peer = yield* endpoint(`peer-${++names}`)
  const { near, far } = yield* connect(peer, entry)
  const found = Either.right(yield* engine.engine)
  yield* Effect.forkScoped(
    Link.serve(near, ({ stream }) => GenerateReply.serve(stream, () => ({ engine: found, done: () => {} })))
  )
  yield* (yield* Links).hold(far)
  const { ref } = yield* PeerDirectoryActor
  yield* ref.Register({ info: peerInfo(peer.identity.id, ["tiny"], slots), link: far.number })
  return { id: peer.identity.id, near, far }
})
let names = 0

/** Runs `body` in an entry whose peers have these engines. */
export const mesh = <A, E>(
  engines: ReadonlyArray<Scripted>,
  body: (
    peers: ReadonlyArray<Effect.Effect.Success<ReturnType<typeof join>>>
  ) => Effect.Effect<A, E, Inference | Links | PeerDirectoryActor | Slots | Scope.Scope>,
  config: Partial<EntryConfigShape> = {}
) =>
  Effect.gen(function* () {
    const entry = yield* endpoint("entry")
    return yield* body(yield* Effect.forEach(engines, (engine) => join(entry, engine)))
  }).pipe(
    Effect.scoped,
    Effect.provide(
      MeshInference.layer.pipe(
        Layer.provideMerge(Slots.layer),
        Layer.provideMerge(Links.layer),
        Layer.provide(Performance.layer),
        Layer.provideMerge(PeerDirectoryActor.layer()),
        Layer.provide([EntryConfig.layer({ maxFailovers, ...config }), Demand.layer])
      )
    ),
    Effect.provide(MemoryNetwork.layer())
  )

/** Begins an answer in the scope, whose events wait in a mailbox. */
export const generate = (changes: Parameters<typeof request>[0] = {}) =>
  Effect.gen(function* () {
    const inference = yield* Inference
    const events = yield* Mailbox.make<GenerateEvent>()
    const begun = yield* Deferred.make<string, NoAnswer>()
    let moved = 0
    yield* Effect.acquireRelease(
      Effect.sync(() =>
        inference.generate(
          request(changes),
          { caller: "test", labels: {} },
          {
            begun: (servedBy) => Deferred.unsafeDone(begun, Effect.succeed(servedBy)),
            moved: () => void moved++,
            refused: (why) => Deferred.unsafeDone(begun, why),
            events: (told) => {
              events.unsafeOfferAll(told)
              if (told.some(isLast)) events.unsafeDone(Exit.void)
            }
          }
        )
      ),
      (cancel) => Effect.sync(cancel)
    )
    return { servedBy: yield* Deferred.await(begun), events, moved: () => moved }
  })
/** One answer from its beginning to its end. */
export const whole = Effect.scoped(
  Effect.flatMap(generate(), (given) =>
    Effect.map(gather(given.events), (told) => ({ ...told, by: given.servedBy, moved: given.moved() }))
  )
)
