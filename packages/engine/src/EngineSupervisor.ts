/**
 * Keeps one model answering: checks its file, starts an engine host for it, and starts it again whenever it dies.
 * Child: one `EngineHost` process under a supervisor. Requests go `generate → EngineRequests → host`, events come
 * back `host → EngineRequests → mailbox`; the host's frames are checked like a stranger's, as it runs a stranger's
 * file.
 */
import { availableParallelism } from "node:os"
import { basename, resolve } from "node:path"
import * as Supervision from "@weft/actors/Supervision"
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import { Deferred, Duration, Effect, Either, Mailbox, Schema } from "effect"
import type { Engine, EngineLoad } from "./Engine.ts"
import { EngineConfig } from "./EngineConfig.ts"
import { EngineError } from "./EngineError.ts"
import * as EngineMetrics from "./EngineMetrics.ts"
import { type HostCommand, HostEvent } from "./EngineProtocol.ts"
import * as EngineRequests from "./EngineRequests.ts"
import type { GenerateEvent, GenerateFailure, GenerateRequest } from "./Generation.ts"
import * as HostProcess from "./internal/HostProcess.ts"
import * as ModelFile from "./ModelFile.ts"

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

/**
 * Returns an engine once its model is loaded. Its host dies with the scope, and open answers fail with
 * `shutting_down`. Fails where the file is refused or the first host does not come up; later deaths of the host are
 * healed, with growing pauses, for as long as the scope lives.
 */
export const make = Effect.fn("EngineSupervisor.make")(function* (options: EngineOptions) {
  const config = yield* Effect.mapError(Schema.decodeUnknown(EngineConfig)(options), ({ message }) =>
    configInvalid(message)
  )
  const threadsMax = Math.max(1, availableParallelism() - 1)
  if (config.threads > threadsMax) {
    return yield* configInvalid(`${config.threads} threads leave no core free; use at most ${threadsMax}`)
  }
  const path = resolve(options.path)
  const identity = yield* fileIdentity(path)
  const file = yield* Effect.mapError(ModelFile.open(path), rejected)
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
  const status: Status = { state: "loading", starts: 0, hostProcessId: undefined }
  const onProgress = options.onProgress ?? (() => {})
  yield* supervise({ path, identity, config, model, requests, status, onProgress })
  yield* Effect.addFinalizer(() => Effect.sync(() => stop(status, requests, shuttingDown)))

  const generate: Engine["generate"] = (request) =>
    Effect.gen(function* () {
      // Bounded by the answer itself, to which EngineRequests holds the host.
      const mailbox = yield* Mailbox.make<GenerateEvent>()
      if (request.model === model.id) {
        yield* Effect.acquireRelease(
          Effect.sync(() => requests.open(request, mailbox)),
          (key) => Effect.sync(() => requests.close(key))
        )
      } else {
        yield* mailbox.offer({ _tag: "Failed", failure: notFound(request) })
        yield* mailbox.end
      }
      return mailbox
    })

  const load: Engine["load"] = Effect.sync(() => ({
    state: status.state,
    restarts: Math.max(0, status.starts - 1),
    ...requests.counts()
  }))
  const hostProcessId = Effect.sync(() => status.hostProcessId)
  return { model, generate, load, hostProcessId } satisfies SupervisedEngine
})

// internal

interface Status {
  state: EngineLoad["state"]
  /** Hosts started, the first included. */
  starts: number
  hostProcessId: number | undefined
}

interface Supervised {
  readonly path: string
  readonly identity: string
  readonly config: EngineConfig
  readonly model: ModelDescription
  readonly requests: EngineRequests.EngineRequests
  readonly status: Status
  readonly onProgress: (fraction: number) => void
}

/**
 * Never used up: pauses double from 0.1 s to 30 s, so five minutes hold about 18 restarts of a host that dies at
 * once. A request that kills its host must not take the model away until its owner, who may be asleep, starts it by
 * hand.
 */
const restarts = {
  intensity: 30,
  period: Duration.minutes(5),
  backoffMin: Duration.millis(100),
  backoffMax: Duration.seconds(30)
}

/** Starts the first host, and leaves the healing to a supervisor of the scope. */
const supervise = Effect.fnUntraced(function* (supervised: Supervised) {
  const { requests, status } = supervised
  const supervisor = yield* Supervision.make({
    name: `engine ${supervised.model.id}`,
    strategy: "one_for_one",
    restarts
  })
  const start = Effect.tapErrorCause(startHost(supervised), () => Effect.sync(() => requests.abandon()))
  const { join } = yield* supervisor.supervise({ name: "engine host", start })
  yield* Effect.forkScoped(Effect.catchAll(join, () => Effect.sync(() => stop(status, requests, gaveUp))))
})

/** Begins the life of one host: returns, once its model is loaded, the effect that fails when it is lost. */
const startHost = Effect.fnUntraced(function* (supervised: Supervised) {
  const { config, model, requests, status } = supervised
  // By none at first, so that the series is there before the first crash.
  EngineMetrics.restarts.inc({ model: model.id }, ++status.starts > 1 ? 1 : 0)
  if ((yield* fileIdentity(supervised.path)) !== supervised.identity) return yield* fileChanged
  const ready = yield* Deferred.make<void, EngineError>()
  const broken = yield* Deferred.make<never, EngineError>()
  const heard = { frames: 0 }
  const host = yield* HostProcess.spawn({
    command: config.hostCommand,
    environment: config.environment,
    onFrame: (frame) => {
      heard.frames++
      const wrong = Either.flatMap(decodeEvent(frame), (event) => onEvent(event, supervised, ready))
      if (Either.isLeft(wrong)) Deferred.unsafeDone(broken, Effect.fail(wrong.left))
    }
  })
  host.send(loadCommand(supervised))
  const lost = Effect.raceFirst(host.ended, Deferred.await(broken))
  yield* Effect.raceFirst(Deferred.await(ready), lost).pipe(
    Effect.timeoutFail({ duration: config.loadDeadline, onTimeout: () => loadTimeout(config) })
  )
  yield* Effect.acquireRelease(
    Effect.sync(() => attach(status, requests, host)),
    () => Effect.sync(() => detach(status, requests))
  )
  return Effect.raceFirst(lost, watchSilence(config, requests, heard))
})

const onEvent = (
  event: HostEvent,
  { model, onProgress, requests }: Supervised,
  ready: Deferred.Deferred<void, EngineError>
): Either.Either<void, EngineError> => {
  switch (event._tag) {
    case "Progress":
      return Either.right(onProgress(event.fraction))
    case "Ready":
      return Either.right(Deferred.unsafeDone(ready, Effect.void))
    case "Refused":
      return Either.left(new EngineError({ reason: event.reason, detail: event.detail }))
    case "Turn": {
      if (event.decodeSeconds !== undefined)
        EngineMetrics.decodeSeconds.observe({ model: model.id }, event.decodeSeconds)
      const wrong = requests.apply(event)
      return wrong === undefined ? Either.right(undefined) : Either.left(protocolBroken(wrong))
    }
  }
}

/** Fails when a host that has work says nothing for the configured time; each turn says something. */
const watchSilence = Effect.fnUntraced(function* (
  { turnDeadline }: EngineConfig,
  requests: EngineRequests.EngineRequests,
  heard: { readonly frames: number }
) {
  let quietLooks = 0
  while (quietLooks < silentLooks) {
    const before = heard.frames
    yield* Effect.sleep(Duration.times(turnDeadline, 1 / silentLooks))
    quietLooks = requests.sent() > 0 && heard.frames === before ? quietLooks + 1 : 0
  }
  const detail = `the engine host was silent for ${Duration.format(turnDeadline)} while it had work`
  return yield* new EngineError({ reason: "host_lost", detail })
})

/** Looks per deadline: the deadline is kept to a quarter. */
const silentLooks = 4

const attach = (status: Status, requests: EngineRequests.EngineRequests, host: HostProcess.HostProcess): void => {
  status.state = "ready"
  status.hostProcessId = host.processId
  requests.attach(host.send)
}

const detach = (status: Status, requests: EngineRequests.EngineRequests): void => {
  if (status.state === "ready") status.state = "restarting"
  status.hostProcessId = undefined
  requests.detach()
}

const stop = (status: Status, requests: EngineRequests.EngineRequests, failure: GenerateFailure): void => {
  status.state = "stopped"
  requests.stop(failure)
}

const describe = (file: ModelFile.ModelFile, config: EngineConfig): ModelDescription => ({
  id: config.modelId ?? file.header.name ?? basename(file.path, ".gguf"),
  sha256: file.sha256,
  sizeBytes: file.sizeBytes,
  architecture: file.header.architecture,
  quantization: file.header.quantization,
  contextTokens: Math.min(config.contextTokens, file.header.contextTokens),
  slots: config.slots
})

const loadCommand = ({ config, model, path }: Supervised): HostCommand => ({
  _tag: "Load",
  path,
  accelerator: config.accelerator,
  gpuLayers: config.gpuLayers,
  contextTokens: model.contextTokens,
  slots: model.slots,
  threads: config.threads,
  prefillTokens: config.prefillTokens,
  profile: config.profile,
  pairRows: /^B?F(16|32)$/.test(model.quantization)
})

/** Returns what changes when a file is written or replaced; hashing it again at every restart would take too long. */
const fileIdentity = (path: string) =>
  Effect.tryPromise({
    try: () => Bun.file(path).stat(),
    catch: (cause) => new EngineError({ reason: "file_rejected", detail: `${path} cannot be read; check it`, cause })
  }).pipe(Effect.map(({ ino, mtimeMs, size }) => `${ino}:${mtimeMs}:${size}`))

const rejected = (error: ModelFile.ModelFileRejected) =>
  new EngineError({ reason: "file_rejected", detail: error.message, cause: error })

const configInvalid = (detail: string) => new EngineError({ reason: "config_invalid", detail })

const fileChanged = new EngineError({
  reason: "file_rejected",
  detail: "the model file changed since it was checked; start Weft again to have it checked"
})

const loadTimeout = ({ loadDeadline }: EngineConfig) =>
  new EngineError({
    reason: "load_timeout",
    detail: `the model was not loaded within ${Duration.format(loadDeadline)}; raise loadDeadline or use a faster disk`
  })

const protocolBroken = (detail: string) => new EngineError({ reason: "protocol_broken", detail })

const decodeEvent = (frame: unknown) =>
  Either.mapLeft(Schema.decodeUnknownEither(HostEvent)(frame), (error) => protocolBroken(error.message))

const shuttingDown: GenerateFailure = {
  code: "shutting_down",
  message: "This engine is shutting down. Send the request again to reach another one."
}

const gaveUp: GenerateFailure = {
  code: "engine_lost",
  message: "The engine of this model died too often and is not started again. Its owner has to look at its log."
}

const notFound = ({ model }: GenerateRequest): GenerateFailure => ({
  code: "model_not_found",
  message: `This engine does not hold the model ${model}.`,
  param: "model"
})
