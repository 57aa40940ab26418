/**
 * One engine host of a model, started again whenever it dies. Child: one `EngineHost` process under a supervisor.
 * Requests go `open → EngineRequests → host`, events come back `host → EngineRequests → listener`; the host's frames
 * are checked like a stranger's, as it runs a stranger's file. Owned by `EngineSupervisor.ts`.
 */
import * as Supervision from "@weft/actors/Supervision"
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import * as PlainDecode from "@weft/mesh/PlainDecode"
import { Deferred, Duration, Effect, Either, Option, ParseResult, type Scope } from "effect"
import * as BatchLoop from "./BatchLoop.ts"
import * as CalibrationFile from "./CalibrationFile.ts"
import type { EngineLoad } from "./Engine.ts"
import { type EngineConfig, threadsMost } from "./EngineConfig.ts"
import { EngineError } from "./EngineError.ts"
import * as EngineMetrics from "./EngineMetrics.ts"
import { type HostCommand, HostEvent } from "./EngineProtocol.ts"
import * as EngineRequests from "./EngineRequests.ts"
import type { Calibration, EngineTuning } from "./EngineTuning.ts"
import type { GenerateFailure, Profile } from "./Generation.ts"
import * as HostWatch from "./HostWatch.ts"
import * as HostProcess from "./internal/HostProcess.ts"

/** Represents what a host is started with, every time. */
export interface SupervisedHostOptions {
  readonly path: string
  /** What `fileIdentity` said when the file was checked. */
  readonly identity: string
  readonly config: EngineConfig
  readonly model: ModelDescription
  readonly profile: Profile
  readonly onProgress: (fraction: number) => void
  readonly onCounts: (counts: EngineRequests.RequestCounts) => void
}

/** Represents a host that is kept alive for as long as its scope lives. */
export interface SupervisedHost {
  readonly requests: EngineRequests.EngineRequests
  readonly state: () => EngineLoad["state"]
  /** Times the host was started again. */
  readonly restarts: () => number
  readonly processId: () => number | undefined
  /** What the host that was up last chose. */
  readonly tuning: () => EngineTuning | undefined
}

/** Returns a host once its model is loaded; open answers fail with `shutting_down` when the scope closes. */
export const make = Effect.fn("SupervisedHost.make")(function* (
  options: SupervisedHostOptions
): Effect.fn.Return<SupervisedHost, EngineError, Scope.Scope> {
  const { config, model } = options
  const requests = EngineRequests.make(
    { slots: model.slots, queuedMax: config.queuedMax, contextTokens: model.contextTokens },
    {
      onCounts: options.onCounts,
      onTokens: (kind, count) => EngineMetrics.countTokens(model.id, kind, count)
    }
  )
  const status: Status = { state: "loading", starts: 0, processId: undefined, tuning: undefined, learnt: undefined }
  yield* supervise({ ...options, requests, status })
  yield* Effect.addFinalizer(() => Effect.sync(() => stop(status, requests, EngineRequests.shuttingDown)))
  return {
    requests,
    state: () => status.state,
    restarts: () => Math.max(0, status.starts - 1),
    processId: () => status.processId,
    tuning: () => status.tuning
  }
})

/** Returns what changes when a file is written or replaced; hashing it at every start would take too long. */
export const fileIdentity = (path: string): Effect.Effect<string, EngineError> =>
  Effect.tryPromise({
    try: () => Bun.file(path).stat(),
    catch: (cause) => new EngineError({ reason: "file_rejected", detail: `${path} cannot be read; check it`, cause })
  }).pipe(Effect.map(({ ino, mtimeMs, size }) => `${ino}:${mtimeMs}:${size}`))

/** Returns what a calibration of the host is known by. */
export const calibrationSubject = ({
  config,
  model,
  profile
}: Pick<SupervisedHostOptions, "config" | "model" | "profile">): CalibrationFile.CalibrationSubject => ({
  sha256: model.sha256,
  profile,
  threadsMax: threadsMost(config),
  prefillTokens: config.prefillTokens
})

// internal

interface Status {
  state: EngineLoad["state"]
  /** Hosts started, the first included. */
  starts: number
  processId: number | undefined
  tuning: EngineTuning | undefined
  /** What the host measured and nobody has kept yet. */
  learnt: Calibration | undefined
}

interface Supervised extends SupervisedHostOptions {
  readonly requests: EngineRequests.EngineRequests
  readonly status: Status
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
    name: `engine ${supervised.model.id} ${supervised.profile}`,
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
  const subject = calibrationSubject(supervised)
  const known = Option.getOrUndefined(yield* CalibrationFile.read(config.calibrationPath, subject))
  host.send(loadCommand(supervised, known))
  const lost = Effect.raceFirst(host.ended, Deferred.await(broken))
  yield* Effect.raceFirst(Deferred.await(ready), lost).pipe(HostWatch.loading(config.loadDeadline))
  if (status.learnt !== undefined) yield* CalibrationFile.write(config.calibrationPath, subject, status.learnt)
  status.learnt = undefined
  yield* Effect.acquireRelease(
    Effect.sync(() => attach(status, requests, host)),
    () => Effect.sync(() => detach(status, requests))
  )
  return Effect.raceFirst(
    lost,
    HostWatch.silence(config.turnDeadline, () => ({ hasWork: requests.sent() > 0, heard: heard.frames }))
  )
})

const onEvent = (
  event: HostEvent,
  { model, onProgress, requests, status }: Supervised,
  ready: Deferred.Deferred<void, EngineError>
): Either.Either<void, EngineError> => {
  switch (event._tag) {
    case "Progress":
      return Either.right(onProgress(event.fraction))
    case "Tuned":
      status.tuning = event.tuning
      status.learnt = event.calibration ?? status.learnt
      return Either.right(undefined)
    case "Ready":
      return Either.right(Deferred.unsafeDone(ready, Effect.void))
    case "Refused":
      return Either.left(new EngineError({ reason: event.reason, detail: event.detail }))
    case "Turn": {
      if (event.decodeSeconds !== undefined) EngineMetrics.decodeSeconds.observe(model.id, event.decodeSeconds)
      const wrong = requests.apply(event)
      return wrong === undefined ? Either.right(undefined) : Either.left(protocolBroken(wrong))
    }
  }
}

const attach = (status: Status, requests: EngineRequests.EngineRequests, host: HostProcess.HostProcess): void => {
  status.state = "ready"
  status.processId = host.processId
  requests.attach(host.send)
}

const detach = (status: Status, requests: EngineRequests.EngineRequests): void => {
  if (status.state === "ready") status.state = "restarting"
  status.processId = undefined
  requests.detach()
}

const stop = (status: Status, requests: EngineRequests.EngineRequests, failure: GenerateFailure): void => {
  status.state = "stopped"
  requests.stop(failure)
}

const loadCommand = (
  { config, model, path, profile }: Supervised,
  calibration: Calibration | undefined
): HostCommand => ({
  _tag: "Load",
  path,
  accelerator: config.accelerator,
  gpuLayers: config.gpuLayers,
  contextTokens: model.contextTokens,
  slots: model.slots,
  threads: threadsMost(config),
  prefillTokens: config.prefillTokens,
  profile,
  pairRows: BatchLoop.needsPairs(model.quantization),
  ...(calibration === undefined ? {} : { calibration })
})

const fileChanged = new EngineError({
  reason: "file_rejected",
  detail: "the model file changed since it was checked; start Weft again to have it checked"
})

const protocolBroken = (detail: string) => new EngineError({ reason: "protocol_broken", detail })

const decodeHostEvent = PlainDecode.decoder(HostEvent)

const decodeEvent = (frame: unknown): Either.Either<HostEvent, EngineError> =>
  Either.mapLeft(decodeHostEvent(frame), (issue) => protocolBroken(ParseResult.TreeFormatter.formatIssueSync(issue)))

const gaveUp: GenerateFailure = {
  code: "engine_lost",
  message: "The engine of this model died too often and is not started again. Its owner has to look at its log."
}
