/**
 * Keeps one model answering: checks its file, starts an engine host for it, and starts it again whenever it dies. Children:
 * one `EngineHost` process and the fiber that watches it. Requests go down `generate → EngineRequests → host`, events come
 * back `host → EngineRequests → mailbox`; frames of the host are checked like a stranger's.
 */
import { basename } from "node:path"
import { Deferred, Duration, Effect, Mailbox, Option, Schedule, Schema, type Scope } from "effect"
import type { Engine } from "./Engine.ts"
import { EngineConfig } from "./EngineConfig.ts"
import { EngineError } from "./EngineError.ts"
import * as EngineMetrics from "./EngineMetrics.ts"
import { HostEvent } from "./EngineProtocol.ts"
import * as EngineRequests from "./EngineRequests.ts"
import type { GenerateEvent, GenerateFailure, GenerateRequest } from "./Generation.ts"
import * as HostProcess from "./internal/HostProcess.ts"
import type { ModelDescription } from "./ModelDescription.ts"
import * as ModelFile from "./ModelFile.ts"

/** Represents what an engine is made of: a model file and its settings. */
export type EngineOptions = typeof EngineConfig.Encoded & {
  readonly path: string
  /** Called with 0…1 while the model loads, at restarts too; it must return quickly. */
  readonly onProgress?: (fraction: number) => void
}

/**
 * Returns an engine once its model is loaded. Its host dies with the scope, and open answers fail with `shutting_down`.
 * Fails where the file is refused or the first host does not come up; later deaths of the host are healed, with growing
 * pauses, for as long as the scope lives.
 */
export const make = Effect.fn("EngineSupervisor.make")(function* (options: EngineOptions) {
  const config = yield* decodeConfig(options)
  const file = yield* Effect.mapError(
    ModelFile.open(options.path),
    (error) => new EngineError({ reason: "file_rejected", detail: error.message, cause: error })
  )
  const model = describe(file, config)
  const labels = { model: model.id }
  const requests = EngineRequests.make(
    { slots: model.slots, queuedMax: config.queuedMax, contextTokens: model.contextTokens },
    {
      onCounts: ({ active, queued }) => {
        EngineMetrics.activeSequences.set(labels, active)
        EngineMetrics.queuedRequests.set(labels, queued)
      },
      onTokens: (kind, count) => EngineMetrics.tokens.inc({ ...labels, kind }, count)
    }
  )
  yield* Effect.addFinalizer(() => Effect.sync(() => requests.stop(shuttingDown)))
  const status = yield* supervise({ path: file.path, config, model, requests, onProgress: options.onProgress })

  const generate = (request: GenerateRequest) =>
    Effect.gen(function* () {
      // Bounded by the answer itself, which EngineRequests holds the host to.
      const mailbox = yield* Mailbox.make<GenerateEvent>()
      if (request.model !== model.id) {
        mailbox.unsafeOffer({ _tag: "Failed", failure: notFound(request.model) })
        yield* mailbox.end
        return mailbox
      }
      yield* Effect.acquireRelease(
        Effect.sync(() => requests.open(request, mailbox)),
        (key) => Effect.sync(() => requests.close(key))
      )
      return mailbox
    })

  const load = Effect.sync(() => ({ state: status.state, restarts: status.restarts, ...requests.counts() }))
  return { model, generate, load } satisfies Engine
})

// internal

interface Supervised {
  readonly path: string
  readonly config: EngineConfig
  readonly model: ModelDescription
  readonly requests: EngineRequests.EngineRequests
  readonly onProgress: ((fraction: number) => void) | undefined
}

interface Status {
  state: "loading" | "ready" | "restarting" | "stopped"
  restarts: number
}

/** A host that dies at once is tried again at growing intervals, never given up: its owner may be asleep. */
const restartSchedule = Schedule.exponential("100 millis").pipe(
  Schedule.union(Schedule.spaced("30 seconds")),
  Schedule.resetAfter("2 minutes")
)

/** Starts the first host, waits until it is ready, and leaves the healing to a fiber of the scope. */
const supervise = Effect.fnUntraced(function* (supervised: Supervised) {
  const status: Status = { state: "loading", restarts: 0 }
  const ready = yield* Deferred.make<void, EngineError>()
  yield* Effect.addFinalizer(() => Effect.sync(() => (status.state = "stopped")))
  const loop = runHost(supervised, status, ready).pipe(
    Effect.tapError((error) => Effect.logWarning("engine host lost", error.message)),
    Effect.tapError((error) => Deferred.fail(ready, error)),
    Effect.retry({ schedule: restartSchedule, while: () => Deferred.poll(ready).pipe(Effect.map(isUp)) })
  )
  yield* Effect.forkScoped(loop)
  yield* Deferred.await(ready)
  return status
})
