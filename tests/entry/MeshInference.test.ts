/** Which peer answers and which is asked next, over links of a memory network with engines that speak by script. */
import { expect } from "bun:test"
import { answer } from "@weft/engine/GenerateStream"
import type { GenerateEvent } from "@weft/engine/Generation"
import { Inference } from "@weft/entry/Inference"
import { Links } from "@weft/entry/Links"
import * as MeshInference from "@weft/entry/MeshInference"
import * as Link from "@weft/mesh/Link"
import { MemoryNetwork } from "@weft/mesh/MemoryNetwork"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import { Effect, Exit, FastCheck, Fiber, Layer, Scope } from "effect"
import { gather } from "../engine/asking.ts"
import { delta, failed, finished, request, type Scripted, saying, scripted, started } from "../engine/scripted.ts"
import { connect, endpoint, rise } from "../mesh/links.ts"
import { peerInfo } from "../mesh/peers.ts"
import { it } from "../support/effect.ts"
import { virtualTime } from "../support/virtualTime.ts"

/** Slots of every peer's model. */
const slots = 1
const good = (text: string): ReadonlyArray<GenerateEvent> => [started, delta(text), finished(1)]

/** Joins a peer with this engine to the entry; returns its id and a way to lose it. */
const join = Effect.fnUntraced(function* (entry: Effect.Effect.Success<ReturnType<typeof endpoint>>, engine: Scripted) {
  const peer = yield* endpoint(`peer-${++names}`)
  const { near, far } = yield* connect(peer, entry)
  yield* Effect.forkScoped(
    Link.serve(near, (incoming) => Effect.asVoid(answer(incoming, () => Effect.succeed(engine.engine))))
  )
  yield* (yield* Links).hold(far)
  const { ref } = yield* PeerDirectoryActor
  yield* ref.Register({ info: peerInfo(peer.identity.id, ["tiny"], slots), link: far.number })
  return { id: peer.identity.id, near, far }
})
let names = 0

/** Runs `body` in an entry whose peers have these engines. */
const mesh = <A, E>(
  engines: ReadonlyArray<Scripted>,
  body: (
    peers: ReadonlyArray<Effect.Effect.Success<ReturnType<typeof join>>>
  ) => Effect.Effect<A, E, Inference | Links | PeerDirectoryActor | Scope.Scope>
) =>
  Effect.gen(function* () {
    const entry = yield* endpoint("entry")
    return yield* body(yield* Effect.forEach(engines, (engine) => join(entry, engine)))
  }).pipe(
    Effect.scoped,
    Effect.provide(
      MeshInference.layer.pipe(Layer.provideMerge(Links.layer), Layer.provideMerge(PeerDirectoryActor.layer()))
    ),
    Effect.provide(MemoryNetwork.layer())
  )

const generate = (changes: Parameters<typeof request>[0] = {}) =>
  Effect.flatMap(Inference, (inference) => inference.generate(request(changes)))
const whole = Effect.scoped(
  Effect.flatMap(generate(), (given) => Effect.map(gather(given.events), (told) => ({ ...told, by: given.servedBy })))
)
const inFlight = Effect.map(Links, (links) => [...links.attachments().values()].map((held) => held.inFlight))
const begun = (engines: ReadonlyArray<Scripted>) => engines.map((engine) => engine.begun())

it.effect("a peer that fails before it begins is passed over for another, once each, and the retry is counted", () => {
  const engines = [scripted(saying([failed("overloaded")])), scripted(saying(good("hello")))]
  return mesh(engines, () =>
    Effect.gen(function* () {
      const retries = yield* rise(
        "weft_route_retries_total",
        {},
        Effect.forEach([1, 2], () => Effect.map(whole, ({ text }) => expect(text).toBe("hello")))
      )
      expect(engines[1]?.begun()).toBe(2)
      expect(retries).toBe(engines[0]?.begun() ?? -1)
      expect(yield* inFlight).toEqual([0, 0])
    })
  )
})

it.effect("a peer that fails after it began is not passed over: its client has seen the beginning", () => {
  const engines = [1, 2].map(() => scripted(saying([started, delta("half "), failed("internal")])))
  return mesh(engines, () =>
    Effect.gen(function* () {
      const { events } = yield* whole
      expect(events.map(({ _tag }) => _tag)).toEqual(["Started", "Delta", "Failed"])
      expect(begun(engines).reduce((sum, count) => sum + count)).toBe(1)
    })
  )
})

it.effect("three peers are asked at most, each once; the client gets the last one's reason", () => {
  const engines = Array.from({ length: 5 }, () => scripted(saying([failed("internal")])))
  return mesh(engines, () =>
    Effect.gen(function* () {
      const retries = yield* rise(
        "weft_route_retries_total",
        {},
        Effect.map(whole, ({ events }) => expect(events).toEqual([failed("internal")]))
      )
      expect(begun(engines).sort()).toEqual([0, 0, 1, 1, 1])
      expect(retries).toBe(2)
      expect(yield* inFlight).toEqual([0, 0, 0, 0, 0])
    })
  )
})

it.effect("a request that is itself at fault is not tried again", () => {
  const engines = [1, 2].map(() => scripted(saying([failed("context_length_exceeded")])))
  return mesh(engines, () =>
    Effect.gen(function* () {
      expect((yield* whole).events).toEqual([failed("context_length_exceeded")])
      expect(begun(engines).reduce((sum, count) => sum + count)).toBe(1)
    })
  )
})

it.effect("a lone peer that fails is no retry, and the failure it gave is still there to be read", () => {
  const engines = [scripted(saying([failed("internal")]))]
  return mesh(engines, () =>
    Effect.gen(function* () {
      const retries = yield* rise(
        "weft_route_retries_total",
        {},
        Effect.map(whole, ({ events }) => expect(events).toEqual([failed("internal")]))
      )
      expect(retries).toBe(0)
    })
  )
})

it.effect("a session that dies before the first event sends the request to another peer", () => {
  const engines = [scripted(() => Effect.never), scripted(() => Effect.never)]
  return mesh(engines, (peers) =>
    Effect.gen(function* () {
      const asking = yield* Effect.fork(Effect.scoped(generate()))
      yield* Effect.repeatN(Effect.yieldNow(), 500)
      const first = engines.findIndex((engine) => engine.begun() === 1)
      yield* peers[first]?.near.session.close(1, "gone") ?? Effect.void
      yield* Effect.repeatN(Effect.yieldNow(), 500)
      expect(begun(engines)).toEqual([1, 1])
      yield* Fiber.interrupt(asking)
      yield* Effect.repeatN(Effect.yieldNow(), 500)
      expect(engines.map((engine) => engine.open())).toEqual([0, 0])
      expect(yield* inFlight).toEqual([0, 0])
    })
  )
})

it.effect("closing the answer's scope cancels it on the peer", () => {
  const engine = scripted((mailbox) => Effect.zipRight(mailbox.offer(started), Effect.never))
  return mesh([engine], () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      yield* Scope.extend(generate(), scope)
      expect([engine.open(), ...(yield* inFlight)]).toEqual([1, 1])
      yield* Scope.close(scope, Exit.void)
      expect(yield* inFlight).toEqual([0])
      yield* Effect.repeatN(Effect.yieldNow(), 500)
      expect(engine.open()).toBe(0)
    })
  )
})

it.effect("who cannot be answered is told why: no such model, nobody to reach, everybody busy", () => {
  const engine = scripted((mailbox) => Effect.zipRight(mailbox.offer(started), Effect.never))
  return mesh([engine], ([peer]) =>
    Effect.gen(function* () {
      const reasonOf = (model: string) => Effect.scoped(Effect.flip(generate({ model })))
      expect(yield* reasonOf("gpt-17")).toMatchObject({ reason: "ModelNotFound", model: "gpt-17" })
      // One slot, and four that may wait for it.
      yield* Effect.forEach([1, 2, 3, 4, 5], () => generate())
      expect(yield* reasonOf("tiny")).toMatchObject({ reason: "Overloaded", retryAfterSeconds: 2 })
      const { ref } = yield* PeerDirectoryActor
      if (peer !== undefined) yield* ref.Leave({ peer: peer.id, link: peer.far.number })
      expect(yield* reasonOf("tiny")).toMatchObject({ reason: "NoPeer", retryAfterSeconds: 5 })
      expect(yield* (yield* Inference).models).toEqual([])
    })
  )
})

/** How a peer of a random mesh behaves. */
const scripts = {
  answers: saying(good("hello")),
  refuses: saying([failed("overloaded")]),
  "breaks off": saying([started, delta("a"), failed("engine_lost")]),
  "is silent": () => Effect.never,
  "breaks the rules": saying([delta("a"), started]),
  "ends early": saying([started])
} as const
const behaviour = FastCheck.constantFrom<keyof typeof scripts>(
  "answers",
  "refuses",
  "breaks off",
  "is silent",
  "breaks the rules",
  "ends early"
)

it.live(
  "whatever peers and clients do, every place at a peer is free again afterwards",
  () =>
    Effect.promise(() =>
      FastCheck.assert(
        FastCheck.asyncProperty(
          FastCheck.array(behaviour, { minLength: 1, maxLength: 4 }),
          FastCheck.array(FastCheck.record({ atMs: FastCheck.nat(50), leavesAfterMs: FastCheck.nat(50) }), {
            minLength: 1,
            maxLength: 6
          }),
          FastCheck.option(FastCheck.nat(40)),
          async (behaviours, clients, lossMs) => {
            const engines = behaviours.map((name) => scripted(scripts[name]))
            const play = mesh(engines, (peers) =>
              Effect.gen(function* () {
                const client = ({ atMs, leavesAfterMs }: (typeof clients)[number]) =>
                  Effect.zipRight(Effect.sleep(atMs), Effect.timeoutOption(Effect.either(whole), leavesAfterMs))
                const loss = Effect.zipRight(
                  Effect.sleep(lossMs ?? 0),
                  lossMs === null ? Effect.void : (peers[0]?.near.session.close(1, "gone") ?? Effect.void)
                )
                yield* Effect.all([loss, ...clients.map(client)], { concurrency: "unbounded" })
                yield* Effect.sleep("10 seconds")
                expect(yield* inFlight).toEqual(behaviours.map(() => 0))
                expect(engines.map((engine) => engine.open())).toEqual(behaviours.map(() => 0))
              })
            )
            await Effect.runPromise(virtualTime(play))
          }
        ),
        { numRuns: 100 }
      )
    ),
  60_000
)
