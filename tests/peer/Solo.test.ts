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

/** A peer that serves `a` and stands by with `b`; either takes 6 of 10 bytes. */
const peer = Effect.gen(function* () {
  const log: Array<string> = []
  const state = { active: 1, freeBytes: 10, fails: false }
  const candidates = peerInfo(peerId(1), ["a", "b"]).models.map((model): Candidate => {
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
