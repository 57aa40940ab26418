/** How a peer carries out an order: what leaves ends its answers first, what cannot be loaded is not offered again. */
import { expect } from "bun:test"
import { EngineError } from "@weft/engine/EngineError"
import type { WholeEngine } from "@weft/engine/EngineSupervisor"
import type { Order } from "@weft/mesh/election/ElectionProtocol"
import { Engines, make as makeEngines } from "@weft/peer/Engines"
import { Solo } from "@weft/peer/election/Solo"
import type { Candidate } from "@weft/peer/election/SoloEngines"
import { Effect, ExecutionStrategy, Layer, Scope, TestClock } from "effect"
import { peerId, peerInfo } from "../mesh/peers.ts"
import { it } from "../support/effect.ts"

const entry = peerId(101)

/** A peer that serves the first of these models and stands by with the others; each takes 6 of 10 bytes. */
const peerOf = Effect.fnUntraced(function* (...ids: ReadonlyArray<string>) {
  const log: Array<string> = []
  const state = { active: 1, freeBytes: 10, fails: false }
  const candidates = peerInfo(peerId(1), ids).models.map((model): Candidate => {
    const engine: WholeEngine = {
      setup: Effect.succeed("the same"),
      model,
      generate: () => () => {},
      load: Effect.sync(() => ({ state: "ready", active: state.active, queued: 0, restarts: 0 })),
      hostProcessId: Effect.succeed(undefined)
    }
    const load = Effect.acquireRelease(
      Effect.suspend(() => {
        if (state.fails) return new EngineError({ reason: "model_unloadable", detail: "no such luck" })
        log.push(`load ${model.id}`)
        return Effect.succeed(engine)
      }),
      () => Effect.sync(() => log.push(`stop ${model.id}`))
    )
    return { model, needBytes: 6, load }
  })
  const scope = yield* Scope.fork(yield* Effect.scope, ExecutionStrategy.sequential)
  const [a] = candidates
  if (a === undefined) return yield* Effect.dieMessage("no candidate")
  const engine = yield* Scope.extend(a.load, scope)
  const engines = yield* makeEngines([engine])
  const freeBytes = Effect.sync(() => state.freeBytes)
  const options = { usableBytes: 10, candidates, held: [{ engine, scope }], freeBytes }
  const context = yield* Layer.build(Layer.provide(Solo.layer(options), Layer.succeed(Engines, engines)))
  const solo = yield* Effect.provide(Solo, context)
  const models = () => engines.models().map(({ id }) => id)
  return { solo, engines, state, log, models }
})

const peer = peerOf("a", "b")

const order = (epoch: number, ...workers: ReadonlyArray<string>): Order => ({
  epoch,
  issuedAtMs: 0,
  leaseMs: 15_000,
  assignments: ["a", "b"].map((model) => ({ model, role: workers.includes(model) ? "worker" : "standby", why: "so" }))
})

it.effect("a model that leaves is found no more, ends its answers, and only then the other is loaded", () =>
  Effect.gen(function* () {
    const { log, models, solo, state } = yield* peer
    expect((yield* solo.offer)?.candidates.map(({ model }) => model.id)).toEqual(["a", "b"])
    yield* solo.receive(entry, order(1, "b"))
    yield* TestClock.adjust("1 second")
    expect([models(), log]).toEqual([[], ["load a"]])
    state.active = 0
    yield* TestClock.adjust("1 second")
    expect([models(), log]).toEqual([["b"], ["load a", "stop a", "load b"]])
    expect(yield* solo.status).toMatchObject({
      lease: { entry, epoch: 1, leftMs: 13_000 },
      models: [
        { model: "a", role: "standby", isLoaded: false, why: "so" },
        { model: "b", role: "worker", isLoaded: true, why: "so" }
      ]
    })
  })
)

it.effect("an answer that does not end is cut after 15 seconds", () =>
  Effect.gen(function* () {
    const { log, solo } = yield* peer
    yield* solo.receive(entry, order(1, "b"))
    yield* TestClock.adjust("14 seconds")
    expect(log).toEqual(["load a"])
    yield* TestClock.adjust("2 seconds")
    expect(log).toEqual(["load a", "stop a", "load b"])
  })
)

it.effect("what cannot be loaded, or has no memory left, is not offered for five minutes, and says why", () =>
  Effect.gen(function* () {
    for (const fault of [{ fails: true }, { freeBytes: 5 }]) {
      const { engines, models, solo, state } = yield* peer
      Object.assign(state, fault, { active: 0 })
      yield* solo.receive(entry, order(1, "b"))
      yield* TestClock.adjust("1 second")
      yield* engines.changed
      expect(models()).toEqual([])
      expect((yield* solo.offer)?.candidates.map(({ model }) => model.id)).toEqual(["a"])
      const [, b] = (yield* solo.status)?.models ?? []
      expect(b).toMatchObject({ role: "dropped", why: expect.stringMatching(/luck|memory/) })
      yield* TestClock.adjust("5 minutes")
      yield* solo.standing
      yield* engines.changed
      expect((yield* solo.offer)?.candidates.map(({ model }) => model.id)).toEqual(["a", "b"])
    }
  })
)

it.effect("an order that is refused changes nothing and is told with the next standing", () =>
  Effect.gen(function* () {
    const { log, models, solo } = yield* peer
    yield* solo.receive(entry, order(3, "a", "b"))
    yield* TestClock.adjust("1 second")
    expect([models(), log]).toEqual([["a"], ["load a"]])
    expect(yield* solo.standing).toEqual({
      lease: null,
      highestEpoch: 0,
      refused: { entry, epoch: 3, reason: "Memory" }
    })
    expect((yield* solo.status)?.refused).toContain("memory")
    yield* solo.receive(entry, order(4, "a"))
    expect(yield* solo.standing).toMatchObject({ lease: { entry, epoch: 4 }, highestEpoch: 4, refused: null })
  })
)

it.effect("a peer whose models all fit offers none for election, and says that each is served and stays", () =>
  Effect.gen(function* () {
    const { solo } = yield* peerOf("a")
    expect(yield* solo.offer).toBeUndefined()
    expect(yield* solo.status).toEqual({
      isElective: false,
      models: [{ model: "a", role: "worker", why: expect.stringMatching(/room/), isLoaded: true, needBytes: 6 }]
    })
  })
)

it.effect("models beyond those that entries choose among are told too, as dropped", () =>
  Effect.gen(function* () {
    const { solo } = yield* peerOf(..."abcdefghij")
    expect((yield* solo.offer)?.candidates.length).toBe(8)
    const { isElective, models = [] } = (yield* solo.status) ?? {}
    expect(isElective).toBe(true)
    expect(models.map(({ model, role }) => model + role[0]).join(" ")).toBe("aw bs cs ds es fs gs hs id jd")
    expect(models.at(-1)?.why).toContain("first 8 models")
  })
)
