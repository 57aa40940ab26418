/**
 * The models this peer answers for, each with an engine: those it holds whole, while they are elected, and those of the
 * pipelines it hosts, while they serve. Closing what made an engine stops it.
 */
import type { SupervisedEngine, WholeEngine } from "@weft/engine/EngineSupervisor"
import type { GenerateFailure } from "@weft/engine/Generation"
import type { ModelDescription, NativeFigures } from "@weft/mesh/ModelDescription"
import type { ModelLoad } from "@weft/mesh/PeerInfo"
import { Context, Effect, Either, Queue } from "effect"
import type { ModelStatus } from "./PeerStatus.ts"

/** Finds the engine of a model. */
export class Engines extends Context.Tag("@weft/peer/Engines")<
  Engines,
  {
    /** What the peer serves now, as it says when it registers. */
    readonly models: () => ReadonlyArray<ModelDescription>
    /** Waits until `models` is another than when this was awaited last; for one who waits. */
    readonly changed: Effect.Effect<void>
    /** The engines of the models it holds whole now. */
    readonly whole: () => ReadonlyArray<WholeEngine>
    /** Adds the engine of a whole model, in place of a pipeline of the same. */
    readonly hold: (engine: WholeEngine) => void
    /** Takes such an engine out: nobody finds it from now on, and what it answers goes on. */
    readonly release: (engine: SupervisedEngine) => void
    /** Has what the peer says of itself said again. */
    readonly announce: () => void
    /** Adds the engine of a pipeline, or says anew what its model is; nothing happens where the peer holds it whole. */
    readonly serve: (engine: SupervisedEngine, model: ModelDescription) => void
    /** Takes such an engine out; nothing happens where it is not in. */
    readonly withdraw: (engine: SupervisedEngine) => void
    /** Says what an engine gives with no mesh in the way; nothing happens where it is not in. */
    readonly measured: (engine: SupervisedEngine, native: NativeFigures) => void
    /**
     * Runs `use`, which asks the engine for one answer at a time: nobody is told of that one, as it gives way to any
     * other, and a full peer gets none.
     */
    readonly unseen: <A, E, R>(engine: SupervisedEngine, use: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
    /** Returns `model_not_found` where this peer does not hold the model. */
    readonly find: (model: string) => Either.Either<SupervisedEngine, GenerateFailure>
    /** What heartbeats say. */
    readonly loads: Effect.Effect<ReadonlyArray<ModelLoad>>
    /** What `peer status` shows. */
    readonly status: Effect.Effect<ReadonlyArray<ModelStatus>>
  }
>() {}

/** Returns the service over engines that run already. */
export const make = (held: ReadonlyArray<WholeEngine>): Effect.Effect<typeof Engines.Service> =>
  Effect.map(Queue.sliding<void>(1), (changes) => {
    const served = new Map<string, Served>(held.map((engine) => [engine.model.id, { engine, model: engine.model }]))
    const whole = new Map(held.map((engine) => [engine.model.id, engine]))
    const announce = (): void => void changes.unsafeOffer(undefined)
    const unseen = new Set<SupervisedEngine>()
    const status = Effect.suspend(() =>
      Effect.forEach([...served.values()], (one) => statusOf(one, unseen.has(one.engine) ? 1 : 0))
    )
    return {
      whole: () => [...whole.values()],
      hold: (engine) => {
        whole.set(engine.model.id, engine)
        served.set(engine.model.id, { engine, model: engine.model })
        announce()
      },
      release: (engine) => {
        if (served.get(engine.model.id)?.engine !== engine) return
        whole.delete(engine.model.id)
        served.delete(engine.model.id)
        announce()
      },
      announce,
      models: () => [...served.values()].map(({ model }) => model),
      changed: Queue.take(changes),
      serve: (engine, model) => {
        if (whole.has(model.id)) return
        served.set(model.id, { engine, model })
        announce()
      },
      withdraw: (engine) => {
        if (served.get(engine.model.id)?.engine !== engine) return
        served.delete(engine.model.id)
        announce()
      },
      measured: (engine, native) => {
        const known = served.get(engine.model.id)
        if (known?.engine !== engine) return
        served.set(engine.model.id, { engine, model: { ...known.model, native } })
        announce()
      },
      unseen: (engine, use) =>
        Effect.acquireUseRelease(
          Effect.sync(() => unseen.add(engine)),
          () => use,
          () => Effect.sync(() => unseen.delete(engine))
        ),
      find: (model) => Either.fromNullable(served.get(model)?.engine, () => notHeld),
      status,
      loads: Effect.map(status, (models) =>
        models.map(({ active, id, queued, state }) => ({ id, ready: state === "ready", active, queued }))
      )
    }
  })

// internal

interface Served {
  readonly engine: SupervisedEngine
  readonly model: ModelDescription
}

const statusOf = ({ engine, model }: Served, unseen: number): Effect.Effect<ModelStatus> =>
  Effect.map(
    Effect.zip(engine.load, engine.hostProcessId),
    ([load, processId]): ModelStatus => ({
      ...model,
      ...load,
      active: Math.max(0, load.active - unseen),
      ...(processId === undefined ? {} : { processId })
    })
  )

const notHeld: GenerateFailure = { code: "model_not_found", message: "this peer does not hold the model" }
