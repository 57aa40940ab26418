/**
 * The engines of the models that a peer could serve alone, each in a scope of its own: loads those that are wanted, and
 * ends the others when their answers have. For `Solo.ts`, which says what is wanted.
 */
import type { EngineError } from "@weft/engine/EngineError"
import type { SupervisedEngine, WholeEngine } from "@weft/engine/EngineSupervisor"
import type { SoloCandidate } from "@weft/mesh/election/ElectionProtocol"
import { Clock, Effect, Either, ExecutionStrategy, Exit, Schedule, Scope } from "effect"
import type { Engines } from "../Engines.ts"

/** Represents a model that the peer could serve alone. */
export interface Candidate extends SoloCandidate {
  /** Loads it; the engine stops with the scope. */
  readonly load: Effect.Effect<WholeEngine, EngineError, Scope.Scope>
}

/** Represents an engine that runs, and its end. */
export interface Held {
  readonly engine: WholeEngine
  readonly scope: Scope.CloseableScope
}

/** Represents the engines of one peer's candidates. */
export interface SoloEngines {
  /** Makes `wanted` the loaded ones, what leaves before what comes; to be run one at a time. */
  readonly carryOut: (wanted: ReadonlySet<string>) => Effect.Effect<void>
  readonly isLoaded: (model: string) => boolean
  /** Returns why the model could not be loaded lately; undefined where nothing is known against it. */
  readonly failure: (model: string) => string | undefined
  /** Forgets failures that are long past; the entry hears of it with the next registration. */
  readonly forgive: Effect.Effect<void>
}

/** Represents what the engines begin with. */
export interface SoloEnginesOptions {
  readonly candidates: ReadonlyArray<Candidate>
  readonly held: ReadonlyArray<Held>
  /** What may be loaded besides what is: the last word before a load, as others use the computer too. */
  readonly freeBytes: Effect.Effect<number>
}

/** Longest wait for running answers of a model that leaves; what is cut goes on at another peer. */
const drainDeadline = "15 seconds"
/** How often a model that leaves is looked at. */
const drainLook = "100 millis"
/** How long a model that could not be loaded is not offered: its file or the memory may be mended meanwhile. */
const failedMs = 300_000

/** Returns the engines; those loaded later end with the scope at the latest. */
export const make = Effect.fnUntraced(function* (
  { candidates, freeBytes, held: initial }: SoloEnginesOptions,
  engines: typeof Engines.Service
) {
  const held = new Map(initial.map((one) => [one.engine.model.id, one]))
  const failed = new Map<string, { readonly untilMs: number; readonly why: string }>()
  const parent = yield* Effect.scope

  const unload = Effect.fnUntraced(function* ({ engine, scope }: Held) {
    const { id } = engine.model
    engines.release(engine)
    held.delete(id)
    yield* drained(engine)
    yield* Scope.close(scope, Exit.void)
    yield* Effect.logInfo(`no longer serving ${id}: another model has its place`)
  })

  const load = Effect.fnUntraced(function* ({ load, model, needBytes }: Candidate) {
    const scope = yield* Scope.fork(parent, ExecutionStrategy.sequential)
    const isRoom = (yield* freeBytes) >= needBytes
    const loaded = isRoom ? yield* Effect.either(Scope.extend(load, scope)) : Either.left(noMemory)
    if (Either.isRight(loaded)) {
      held.set(model.id, { engine: loaded.right, scope })
      engines.hold(loaded.right)
      return
    }
    yield* Scope.close(scope, Exit.void)
    failed.set(model.id, { untilMs: (yield* Clock.currentTimeMillis) + failedMs, why: loaded.left.message })
    engines.announce()
    yield* Effect.logWarning(`${model.id} was elected and cannot be loaded: ${loaded.left.message}`)
  })

  return {
    carryOut: (wanted) =>
      Effect.suspend(() => {
        const models = new Set(candidates.map(({ model }) => model.id))
        const leaving = [...held].flatMap(([id, one]) => (models.has(id) && !wanted.has(id) ? [one] : []))
        const coming = candidates.filter(({ model: { id } }) => wanted.has(id) && !held.has(id) && !failed.has(id))
        return Effect.zipRight(
          Effect.forEach(leaving, unload, { concurrency: "unbounded", discard: true }),
          Effect.forEach(coming, load, { discard: true })
        )
      }),
    isLoaded: (model) => held.has(model),
    failure: (model) => failed.get(model)?.why,
    forgive: Effect.map(Clock.currentTimeMillis, (now) => {
      for (const [model, { untilMs }] of failed) {
        if (now < untilMs) continue
        failed.delete(model)
        engines.announce()
      }
    })
  } satisfies SoloEngines
})

// internal

const noMemory = { message: "other programs use the memory; it is tried again in 5 minutes" }

const drained = ({ load }: SupervisedEngine) =>
  load.pipe(
    Effect.repeat({ schedule: Schedule.spaced(drainLook), until: ({ active, queued }) => active + queued === 0 }),
    Effect.timeoutOption(drainDeadline)
  )
