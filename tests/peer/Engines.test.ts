/** Which engines a peer answers with: those of whole models always, those of pipelines while they serve. */
import { expect } from "bun:test"
import type { WholeEngine } from "@weft/engine/EngineSupervisor"
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import * as Engines from "@weft/peer/Engines"
import { Effect, Either, Fiber } from "effect"
import { peerId, peerInfo } from "../mesh/peers.ts"
import { it } from "../support/effect.ts"

const [described] = peerInfo(peerId(1), ["whole"]).models
if (described === undefined) throw new Error("one model was asked for")

const engine = (id: string): WholeEngine => ({
  model: { ...described, id },
  generate: () => () => {},
  load: Effect.succeed({ state: "ready", active: 1, queued: 2, restarts: 0 }),
  setup: Effect.succeed("the same"),
  hostProcessId: Effect.succeed(7)
})

const stages = (second: number): NonNullable<ModelDescription["stages"]> => [
  { peer: peerId(1), from: 0, to: 1 },
  { peer: peerId(second), from: 1, to: 2 }
]

it.effect("a pipeline is served while it is in, its model says who computes what, and each change is told once", () =>
  Effect.gen(function* () {
    const engines = yield* Engines.make([engine("whole")])
    const split = engine("split")
    expect(Either.isLeft(engines.find("split"))).toBe(true)
    const told = yield* Effect.fork(engines.changed)
    engines.serve(split, { ...split.model, stages: stages(2) })
    yield* Fiber.join(told)
    expect(Either.getOrUndefined(engines.find("split"))).toBe(split)
    expect(engines.models().map(({ id }) => id)).toEqual(["whole", "split"])
    engines.serve(split, { ...split.model, stages: stages(3) })
    expect(engines.models()[1]?.stages).toEqual(stages(3))
    expect(yield* engines.status).toMatchObject([
      { id: "whole", processId: 7 },
      { id: "split", stages: stages(3) }
    ])
    expect(yield* engines.loads).toMatchObject([{ id: "whole" }, { id: "split", ready: true, active: 1, queued: 2 }])
    yield* engines.changed
    engines.withdraw(split)
    engines.withdraw(split)
    yield* engines.changed
    expect(engines.models().map(({ id }) => id)).toEqual(["whole"])
    expect(Either.isLeft(engines.find("split"))).toBe(true)
  })
)

it.effect("what the peer holds whole is not answered by a pipeline, nor is a newer one withdrawn for an older", () =>
  Effect.gen(function* () {
    const whole = engine("whole")
    const engines = yield* Engines.make([whole])
    engines.serve(engine("whole"), whole.model)
    expect(Either.getOrUndefined(engines.find("whole"))).toBe(whole)
    const [older, newer] = [engine("split"), engine("split")]
    engines.serve(older, older.model)
    engines.serve(newer, newer.model)
    engines.withdraw(older)
    expect(Either.getOrUndefined(engines.find("split"))).toBe(newer)
  })
)
