/** Which peer answers and which is asked next, over links of a memory network with engines that speak by script. */
import { expect } from "bun:test"
import type { GenerateRequest } from "@weft/engine/Generation"
import { Inference } from "@weft/entry/Inference"
import { Links } from "@weft/entry/Links"
import { Slots } from "@weft/entry/Slots"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import { Duration, Effect, Either, Exit, FastCheck, Fiber, Scope } from "effect"
import {
  delta,
  failed,
  finished,
  request,
  type Scripted,
  saying,
  scripted,
  started,
  type Teller
} from "../engine/scripted.ts"
import { rise } from "../mesh/links.ts"
import { peerInfo } from "../mesh/peers.ts"
import { it } from "../support/effect.ts"
import { virtualTime } from "../support/virtualTime.ts"

import { generate, good, maxFailovers, mesh, slots, whole } from "./meshing.ts"

const inFlight = Effect.map(Links, (links) => [...links.attachments().values()].map((held) => held.inFlight))
const begun = (engines: ReadonlyArray<Scripted>) => engines.map((engine) => engine.begun())

it.effect("a peer that fails before it begins is passed over for another, once each, and the retry is counted", () => {
  const engines = [scripted(saying([failed("overloaded")])), scripted(saying(good("hello")))]
  let told = 0
  return mesh(engines, () =>
    Effect.gen(function* () {
      const retries = yield* rise(
        "weft_route_failovers_total",
        { kind: "retry" },
        Effect.forEach([1, 2], () =>
          Effect.map(whole, ({ moved, text }) => {
            expect(text).toBe("hello")
            told += moved
          })
        )
      )
      expect(engines[1]?.begun()).toBe(2)
      expect(retries).toBe(engines[0]?.begun() ?? -1)
      // one that no peer failed is told to be of one peer
      expect(told).toBe(retries)
      expect(yield* inFlight).toEqual([0, 0])
    })
  )
})

for (const [type, isExact] of [
  ["q8", false],
  ["f32", true]
] as const)
  it.effect(`an exact request is ${isExact ? "" : "not "}answered by a split whose edges are ${type}`, () => {
    const engines = [scripted(saying(good("whole"))), scripted(saying(good("split")))]
    const splitActivations = new Map([["llama", type]])
    return mesh(
      engines,
      ([solo, host]) =>
        Effect.gen(function* () {
          if (solo === undefined || host === undefined) throw new Error("two peers")
          const { ref } = yield* PeerDirectoryActor
          const info = peerInfo(host.id, ["tiny"], slots)
          const stages = [solo, host].map(({ id }, index) => ({ peer: id, from: index, to: index + 1 }))
          yield* ref.Register({
            info: { ...info, models: info.models.map((model) => ({ ...model, stages })) },
            link: host.far.number
          })
          const exact = Effect.scoped(Effect.map(generate({ profile: "exact" }), ({ servedBy }) => servedBy))
          expect(yield* exact).toBe(solo.id)
          yield* ref.Leave({ peer: solo.id, link: solo.far.number })
          expect((yield* whole).by).toBe(host.id)
          const alone = yield* Effect.either(exact)
          if (isExact) expect(alone).toEqual(Either.right(host.id))
          else expect(Either.getOrThrow(Either.flip(alone)).reason).toBe("NotExact")
        }),
      { splitActivations }
    )
  })

const words = ["Once ", "upon ", "a ", "time ", "there ", "was"]
/** Says the next two words behind what was said elsewhere and is lost then; at the last one it finishes. */
const twoWords = (teller: Teller, { resume }: GenerateRequest) => {
  const from = resume?.tokens.length ?? 0
  const said = words.slice(from, from + 2).map((word, index) => delta(word, from + index))
  const end = from + 2 < words.length ? failed("engine_lost") : finished(words.length)
  return saying([started, ...said, end])(teller)
}
const requestsOf = (engines: ReadonlyArray<Scripted>) =>
  engines.flatMap(({ requests }) => requests).toSorted((a, b) => textLengthOf(a) - textLengthOf(b))
const textLengthOf = ({ resume }: GenerateRequest) => resume?.textLength ?? 0

it.effect(
  "an answer that loses its peer goes on at the next with exactly what the client has, and the same seed",
  () => {
    const engines = [1, 2, 3].map(() => scripted(twoWords))
    return mesh(engines, (peers) =>
      Effect.gen(function* () {
        const failovers = yield* rise(
          "weft_route_failovers_total",
          { kind: "failover" },
          Effect.gen(function* () {
            const { by, events, moved } = yield* whole
            expect(moved).toBe(1)
            expect(events).toEqual([started, ...words.map((word, token) => delta(word, token)), finished(words.length)])
            const first = engines.findIndex(({ requests }) => requests.some(({ resume }) => resume === undefined))
            expect(by).toBe(peers[first]?.id ?? "nobody")
          })
        )
        expect(failovers).toBe(2)
        expect(begun(engines)).toEqual([1, 1, 1])
        const sampling = { ...request().sampling, seed: 7 }
        expect(requestsOf(engines)).toEqual([
          request(),
          { ...request(), sampling, resume: { tokens: [0, 1], textLength: 10 } },
          { ...request(), sampling, resume: { tokens: [0, 1, 2, 3], textLength: 17 } }
        ])
        expect(yield* inFlight).toEqual([0, 0, 0])
      })
    )
  }
)

it.effect("an answer goes on elsewhere as often as is allowed; then its client gets the failure", () => {
  const engines = [1, 2, 3, 4, 5].map(() => scripted(saying([started, delta("half "), failed("internal")])))
  return mesh(engines, () =>
    Effect.gen(function* () {
      const { events } = yield* whole
      expect(events).toEqual([
        started,
        ...[0, ...Array(maxFailovers).keys()].map(() => delta("half ")),
        failed("internal")
      ])
      expect(begun(engines).toSorted()).toEqual([0, 0, 1, 1, 1])
      expect(requestsOf(engines).map(({ resume }) => resume)).toEqual([
        undefined,
        { tokens: [1], textLength: 5 },
        { tokens: [1, 1], textLength: 10 }
      ])
      expect(yield* inFlight).toEqual([0, 0, 0, 0, 0])
    })
  )
})

it.live("an answer that has begun waits seconds for its only peer to come back, and not for ever", () => {
  let leave: Effect.Effect<unknown> = Effect.void
  const engine = scripted((teller, asked) => Effect.zipRight(leave, twoWords(teller, asked)))
  return virtualTime(
    mesh([engine], ([peer]) =>
      Effect.gen(function* () {
        if (peer === undefined) throw new Error("there is one")
        const { ref } = yield* PeerDirectoryActor
        const registered = { info: peerInfo(peer.id, ["tiny"], slots), link: peer.far.number }
        const takesMs = Effect.map(Effect.timed(whole), ([took, told]) => ({ ...told, ms: Duration.toMillis(took) }))
        leave = Effect.orDie(ref.Leave({ peer: peer.id, link: peer.far.number }))
        const comingBack = Effect.zipRight(Effect.sleep("1 second"), ref.Register(registered))
        yield* Effect.fork(Effect.repeatN(comingBack, 1))
        const patient = yield* takesMs
        expect(patient.text).toBe(words.join(""))
        expect(engine.begun()).toBe(3)
        expect(patient.ms).toBeGreaterThanOrEqual(2_000)
        yield* ref.Register(registered)
        const cut = yield* takesMs
        expect(cut.events).toEqual([started, delta("Once ", 0), delta("upon ", 1), failed("engine_lost")])
        expect(cut.ms).toBeGreaterThanOrEqual(5_000)
        expect(cut.ms).toBeLessThan(7_000)
        expect(yield* inFlight).toEqual([0])
      })
    )
  )
})

it.effect("three peers are asked at most, each once; the client gets the last one's reason", () => {
  const engines = Array.from({ length: 5 }, () => scripted(saying([failed("internal")])))
  return mesh(engines, () =>
    Effect.gen(function* () {
      const retries = yield* rise(
        "weft_route_failovers_total",
        { kind: "retry" },
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
        "weft_route_failovers_total",
        { kind: "retry" },
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
  const engine = scripted(({ offer }) => Effect.zipRight(offer(started), Effect.never))
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
  const engine = scripted(({ offer }) => Effect.zipRight(offer(started), Effect.never))
  return mesh([engine], ([peer]) =>
    Effect.gen(function* () {
      const reasonOf = (model: string) => Effect.scoped(Effect.flip(generate({ model })))
      expect(yield* reasonOf("gpt-17")).toMatchObject({ reason: "ModelNotFound", model: "gpt-17" })
      // One slot, and two that may wait for it as long as no answer was measured.
      yield* generate()
      const waiting = yield* Effect.forEach([1, 2], () => Effect.fork(reasonOf("tiny")))
      yield* Effect.repeatN(Effect.yieldNow(), 10)
      expect(yield* reasonOf("tiny")).toMatchObject({ reason: "Overloaded", retryAfterSeconds: 10 })
      const { ref } = yield* PeerDirectoryActor
      if (peer !== undefined) yield* ref.Leave({ peer: peer.id, link: peer.far.number })
      expect(yield* reasonOf("tiny")).toMatchObject({ reason: "NoPeer", retryAfterSeconds: 5 })
      expect((yield* Inference).models()).toEqual([])
      yield* (yield* Slots).serveQueues
      expect((yield* Fiber.joinAll(waiting)).map(({ reason }) => reason)).toEqual(["NoPeer", "NoPeer"])
      expect(engine.begun()).toBe(1)
    })
  )
})

/** How a peer of a random mesh behaves. */
const scripts = {
  answers: saying(good("hello")),
  refuses: saying([failed("overloaded")]),
  "breaks off": saying([started, delta("a"), failed("engine_lost")]),
  "is silent": () => Effect.never,
  "breaks the rules": saying([delta("a"), started])
} as const
const behaviour = FastCheck.constantFrom<keyof typeof scripts>(
  "answers",
  "refuses",
  "breaks off",
  "is silent",
  "breaks the rules"
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
