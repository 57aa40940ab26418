/**
 * Keeps one model answering: checks its file, and has a host for it (`SupervisedHost.ts`). Where that host is fast, a
 * request that must be exact is answered by a second one, started for the first such request and stopped when none
 * has come for a while: weights are repacked when they are loaded, so no host can be both.
 */
import { availableParallelism } from "node:os"
import { basename, resolve } from "node:path"
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import { Effect, FiberId, FiberSet, Option, RcRef, Schema } from "effect"
import * as CalibrationFile from "./CalibrationFile.ts"
import type { AnswerListener, Engine } from "./Engine.ts"
import { EngineConfig } from "./EngineConfig.ts"
import { EngineError } from "./EngineError.ts"
import * as EngineMetrics from "./EngineMetrics.ts"
import * as EngineRequests from "./EngineRequests.ts"
import { type GenerateFailure, type GenerateRequest, isLast, type Profile } from "./Generation.ts"
import { libraryVersion } from "./internal/llama/LibraryVersion.ts"
import * as ModelFile from "./ModelFile.ts"
import * as SupervisedHost from "./SupervisedHost.ts"

/** Represents what an engine is made of: a model file and its settings. */
export type EngineOptions = typeof EngineConfig.Encoded & {
  readonly path: string
  /** Called with 0…1 while the model loads, at restarts too; it must return quickly. */
  readonly onProgress?: (fraction: number) => void
}

/** Represents an engine whose host runs on this computer. */
export interface SupervisedEngine extends Engine {
  /** Process id of the host that is up, for the owner's tools; none while there is no host. */
  readonly hostProcessId: Effect.Effect<number | undefined>
}

/** Represents an engine of a whole model file. */
export interface WholeEngine extends SupervisedEngine {
  /**
   * Names what its speed depends on beside what else runs: the file and when it was written, the library, and what was
   * measured of this computer. It is another name when any of them changes.
   */
  readonly setup: Effect.Effect<string>
}

/**
 * Returns an engine once its model is loaded. Its hosts die with the scope, and open answers fail with
 * `shutting_down`. Fails where the file is refused or the first host does not come up; later deaths of a host are
 * healed, with growing pauses, for as long as the scope lives.
 */
export const make = Effect.fn("EngineSupervisor.make")(function* (options: EngineOptions) {
  const config = yield* Effect.mapError(Schema.decodeUnknown(EngineConfig)(options), ({ message }) =>
    configInvalid(message)
  )
  const threadsMax = Math.max(1, availableParallelism() - 1)
  if (config.threads !== undefined && config.threads > threadsMax) {
    return yield* configInvalid(`${config.threads} threads leave no core free; use at most ${threadsMax}`)
  }
  const path = resolve(options.path)
  const identity = yield* SupervisedHost.fileIdentity(path)
  const file = yield* Effect.mapError(ModelFile.open(path), rejected)
  const model = describe(file, config)
  const counts = makeCounts(model.id)
  const startHost = (profile: Profile, onProgress: (fraction: number) => void) =>
    SupervisedHost.make({ path, identity, config, model, profile, onProgress, onCounts: counts.setter(profile) })
  const main = yield* startHost(config.profile, options.onProgress ?? (() => {}))
  yield* EngineMetrics.observeEngine({
    model: model.id,
    slots: model.slots,
    isReady: () => main.state() === "ready"
  })
  const exact = yield* RcRef.make({
    acquire: Effect.zipRight(
      assertMemory(file.sizeBytes),
      startHost("exact", () => {})
    ),
    idleTimeToLive: config.exactIdle
  })

  const run = yield* FiberSet.makeRuntime<never>()
  const generate: Engine["generate"] = (request, listen) => {
    if (request.model !== model.id) {
      listen([{ _tag: "Failed", failure: EngineRequests.modelNotFound(request) }])
      return () => {}
    }
    if (request.profile !== "exact" || config.profile === "exact")
      return EngineRequests.ask(main.requests, request, listen)
    let isCancelled = false
    const tell: AnswerListener = (events) => {
      if (!isCancelled) listen(events)
    }
    const answered = Effect.scoped(
      Effect.flatMap(RcRef.get(exact), ({ requests }) => untilAnswered(requests, request, tell))
    )
    const refuse = (error: EngineError) => Effect.sync(() => tell([{ _tag: "Failed", failure: noExactHost(error) }]))
    const fiber = run(Effect.catchAll(answered, refuse))
    // The interruption comes a turn later.
    return () => {
      isCancelled = true
      fiber.unsafeInterruptAsFork(FiberId.none)
    }
  }

  const load: Engine["load"] = Effect.sync(() => {
    const tuning = main.tuning()
    const known = tuning === undefined ? {} : { tuning }
    return { state: main.state(), restarts: main.restarts(), ...counts.sum(), ...known }
  })
  const subject = SupervisedHost.calibrationSubject({ config, model, profile: config.profile })
  const setup = Effect.gen(function* () {
    const file = yield* Effect.orElseSucceed(SupervisedHost.fileIdentity(path), () => identity)
    const calibration = Option.getOrNull(yield* CalibrationFile.read(config.calibrationPath, subject))
    return JSON.stringify([subject, file, libraryVersion, calibration])
  })
  return { model, generate, load, setup, hostProcessId: Effect.sync(main.processId) } satisfies WholeEngine
})

// internal

/** Answers as long as the host that does is held. */
const untilAnswered = (requests: EngineRequests.EngineRequests, request: GenerateRequest, listen: AnswerListener) =>
  Effect.async<void>((resume) => {
    const cancel = EngineRequests.ask(requests, request, (events) => {
      listen(events)
      if (events.some(isLast)) resume(Effect.void)
    })
    return Effect.sync(cancel)
  })

/** Adds up the requests of a model's hosts. */
const makeCounts = (model: string) => {
  const known = new Map<Profile, EngineRequests.RequestCounts>()
  const sum = (): EngineRequests.RequestCounts =>
    [...known.values()].reduce(
      (all, { active, queued }) => ({ active: all.active + active, queued: all.queued + queued }),
      { active: 0, queued: 0 }
    )
  const setter = (profile: Profile) => (counts: EngineRequests.RequestCounts) => {
    known.set(profile, counts)
    const { active, queued } = sum()
    EngineMetrics.activeSequences.set({ model }, active)
    EngineMetrics.queuedRequests.set({ model }, queued)
  }
  return { sum, setter }
}

/** A second host maps the file once more and holds cells of its own: as a peer that serves solo, 1.1 × the file. */
const assertMemory = (sizeBytes: number) =>
  Effect.suspend(() => {
    if (process.availableMemory() >= sizeBytes * 1.1) return Effect.void
    return Effect.fail(new EngineError({ reason: "model_unloadable", detail: "no memory for a second, exact host" }))
  })

const noExactHost = ({ message }: EngineError): GenerateFailure => ({
  code: "invalid_request",
  message: `This engine cannot answer exactly now (${message.slice(0, 512)}). Ask without a profile, or another peer.`,
  param: "profile"
})

const describe = (file: ModelFile.ModelFile, config: EngineConfig): ModelDescription => ({
  id: config.modelId ?? file.header.name ?? basename(file.path, ".gguf"),
  sha256: file.sha256,
  sizeBytes: file.sizeBytes,
  architecture: file.header.architecture,
  quantization: file.header.quantization,
  contextTokens: Math.min(config.contextTokens, file.header.contextTokens),
  slots: config.slots
})

const rejected = (error: ModelFile.ModelFileRejected) =>
  new EngineError({ reason: "file_rejected", detail: error.message, cause: error })

const configInvalid = (detail: string) => new EngineError({ reason: "config_invalid", detail })
