/** The models this peer serves, each with an engine host of its own. Closing the layer stops them all. */
import type { SupervisedEngine } from "@weft/engine/EngineSupervisor"
import type { GenerateFailure } from "@weft/engine/Generation"
import type { ModelLoad } from "@weft/mesh/PeerInfo"
import { Context, Effect, Either } from "effect"
import type { ModelStatus } from "./PeerStatus.ts"

/** Finds the engine of a model. */
export class Engines extends Context.Tag("@weft/peer/Engines")<
  Engines,
  {
    readonly all: ReadonlyArray<SupervisedEngine>
    /** Returns `model_not_found` where this peer does not hold the model. */
    readonly find: (model: string) => Either.Either<SupervisedEngine, GenerateFailure>
    /** What heartbeats say. */
    readonly loads: Effect.Effect<ReadonlyArray<ModelLoad>>
    /** What `peer status` shows. */
    readonly status: Effect.Effect<ReadonlyArray<ModelStatus>>
  }
>() {}

/** Returns the service over engines that run already. */
export const make = (all: ReadonlyArray<SupervisedEngine>): typeof Engines.Service => {
  const byId = new Map(all.map((engine) => [engine.model.id, engine]))
  const status = Effect.forEach(all, (engine) =>
    Effect.map(
      Effect.zip(engine.load, engine.hostProcessId),
      ([load, processId]): ModelStatus => ({
        ...engine.model,
        ...load,
        ...(processId === undefined ? {} : { processId })
      })
    )
  )
  return {
    all,
    find: (model) => Either.fromNullable(byId.get(model), () => notHeld),
    status,
    loads: Effect.map(status, (models) =>
      models.map(({ active, id, queued, state }) => ({ id, ready: state === "ready", active, queued }))
    )
  }
}

// internal

const notHeld: GenerateFailure = { code: "model_not_found", message: "this peer does not hold the model" }
