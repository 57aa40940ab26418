/**
 * A model whose other stages are on other peers, as an engine. Child: one `PipelineHost` process, which runs the
 * first stage and drives the answers; it is started once, and where it is lost the engine ends. Requests go `generate
 * → EngineRequests → host`, events come back; frames for the next stage come out at a listener, those of later stages
 * go in through `receive`. Who owns the engine makes the pipeline and says when it is up.
 */
import { fileURLToPath } from "node:url"
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import * as PlainDecode from "@weft/mesh/PlainDecode"
import { Deferred, Duration, Effect, Either, Option, ParseResult, Schedule, type Scope } from "effect"
import * as CalibrationFile from "../CalibrationFile.ts"
import type { EngineLoad } from "../Engine.ts"
import type { EngineConfig } from "../EngineConfig.ts"
import { EngineError } from "../EngineError.ts"
import * as EngineMetrics from "../EngineMetrics.ts"
import * as EngineRequests from "../EngineRequests.ts"
import type { SupervisedEngine } from "../EngineSupervisor.ts"
import type { GenerateFailure } from "../Generation.ts"
import * as HostWatch from "../HostWatch.ts"
import * as HostProcess from "../internal/HostProcess.ts"
import type { ModelFile } from "../ModelFile.ts"
import { isFirst } from "../stage/StageKeys.ts"
import type { ActivationType } from "./Activations.ts"
import * as DraftFile from "./DraftFile.ts"
import { PipelineEvent, type PipelineFault, type PipelineLoad, type PipelineStats } from "./PipelineHostProtocol.ts"
import * as SplitMetrics from "./SplitMetrics.ts"
import * as StageFrame from "./StageFrame.ts"
import * as StageLaunch from "./StageLaunch.ts"
import { StageTimes } from "./StageTimes.ts"

/** Represents what a pipeline's engine is made of. */
export interface PipelineEngineOptions {
  /** The first stage's file, which `ModelFile.open` has checked. */
  readonly file: ModelFile
  /** The whole model; its slots and its context are those of every stage. */
  readonly model: ModelDescription
  /** Of an engine; its profile and what it has for prompts are the split's own here. */
  readonly config: EngineConfig
  /** Most bytes that the first stage may take. */
  readonly memoryBytesMax: number
  /** How hidden states are stored on their way to the second stage; `f32`, as answers are exact with, where absent. */
  readonly activations?: ActivationType | undefined
  /** Tokens are guessed ahead where that pays; so they are unless said otherwise. */
  readonly speculates?: boolean
  /** A whole model with the same vocabulary that guesses too; its memory is part of `memoryBytesMax`. */
  readonly draft?: ModelFile | undefined
  /** Time without a word of any stage, after which a fault is told; 2 s unless said otherwise. */
  readonly stall?: Duration.Duration
  /** Told each frame for the next stage, in order; it must return quickly. */
  readonly onFrame: (frame: Uint8Array, about: StageFrame.Peeked) => void
  /**
   * Told that a stage refuses an answer or keeps silent, and in which epoch. The answer waits for the next
   * `connect`, so a pipeline that goes on must be made again. Silence is told once an epoch, a refusal once for each
   * answer.
   */
  readonly onFault: (fault: PipelineFault) => void
  /** Called with 0…1 while the stage loads. */
  readonly onProgress?: (fraction: number) => void
}

/** Represents the engine of a pipeline; what it answers is what the whole model would, in the exact profile. */
export interface PipelineEngine extends SupervisedEngine {
  /** Values of a hidden state. */
  readonly width: number
  /** Milliseconds of one row in the first stage on one thread, as its first start here measured it. */
  readonly startMs: number
  /**
   * The stages behind the first are up under this number, higher than those before: answers that wait begin, those
   * under way begin anew and go on where they were.
   */
  readonly connect: (epoch: number) => void
  /** They are not: answers wait until `connect`. */
  readonly disconnect: () => void
  /**
   * Takes a `tokens` or `failed` frame of a later stage; what is stale is dropped, what is no such frame is refused.
   */
  readonly receive: (frame: Uint8Array) => Either.Either<void, StageFrame.StageFrameError>
  /** Takes note that a later stage says it works for this epoch: what is under way is waited for. */
  readonly noteWork: () => void
  /** Path of the draft model that guesses; none where it could not be opened. */
  readonly draft: string | undefined
  /** What the host measured when it was looked at last. */
  readonly stats: () => PipelineStats
  /** Waits for the end of the host and fails with how it ended; open answers fail with `engine_lost`. */
  readonly ended: Effect.Effect<never, EngineError>
}

/** Returns an engine once its stage is loaded, not connected; its host is killed with the scope. */
export const make = Effect.fn("PipelineEngine.make")(function* (
  options: PipelineEngineOptions
): Effect.fn.Return<PipelineEngine, EngineError, Scope.Scope> {
  const { draft, file, memoryBytesMax, model } = options
  const config = { ...options.config, slots: model.slots, contextTokens: model.contextTokens }
  const besides = draft === undefined ? 0 : DraftFile.bytesNeeded(draft, model)
  const launching = { ...options, config, memoryBytesMax: memoryBytesMax - besides }
  const { contextTokens, keys, load, subject } = yield* StageLaunch.make(launching)
  if (!isFirst(keys) || contextTokens < model.contextTokens)
    return yield* new EngineError({ reason: "file_rejected", detail: `${file.path} is not the model's first stage` })
  const ready = yield* Deferred.make<Ready, EngineError>()
  const lost = yield* Deferred.make<never, EngineError>()
  const traffic = new Traffic(options, ready, lost)
  yield* Effect.addFinalizer(() => Effect.sync(() => traffic.stop(EngineRequests.shuttingDown)))
  const spawn = yield* HostProcess.HostSpawn
  const host = yield* spawn({
    command: config.hostCommand ?? [process.execPath, pipelineHostPath],
    environment: config.environment,
    onFrame: (frame) => traffic.onMessage(frame)
  })
  yield* Effect.forkScoped(Effect.catchAllCause(host.ended, (cause) => Deferred.failCause(lost, cause)))
  const known = Option.getOrUndefined(yield* CalibrationFile.read(config.calibrationPath, subject))
  host.send({ ...load(known), ...driving(options) } satisfies PipelineLoad)
  const { calibration, draftFault, width } = yield* Effect.raceFirst(Deferred.await(ready), Deferred.await(lost)).pipe(
    HostWatch.loading(config.loadDeadline)
  )
  if (known === undefined) yield* CalibrationFile.write(config.calibrationPath, subject, calibration)
  if (draftFault !== undefined) yield* Effect.logWarning(`${draft?.path} does not guess: ${draftFault}`)
  traffic.begin(host.send)
  const looking = Effect.schedule(
    Effect.sync(() => traffic.look()),
    Schedule.spaced(lookEvery)
  )
  const watch = HostWatch.standstill(config, host.processId, () => traffic.seen())
  const watching = Effect.raceFirst(Effect.zipRight(looking, Effect.never), watch)
  yield* Effect.forkScoped(Effect.catchAllCause(watching, (cause) => Deferred.failCause(lost, cause)))
  const ending = Effect.catchAll(Deferred.await(lost), () => Effect.sync(() => traffic.stop(engineLost)))
  yield* Effect.forkScoped(ending)
  return {
    model,
    width,
    startMs: calibration.oneRowMs,
    generate: (request, listen) => {
      if (request.model === model.id) return EngineRequests.ask(traffic.requests, request, listen)
      listen([{ _tag: "Failed", failure: EngineRequests.modelNotFound(request) }])
      return () => {}
    },
    load: Effect.sync(() => ({ state: traffic.state(), restarts: 0, ...traffic.requests.counts() })),
    hostProcessId: Effect.sync(() => (traffic.state() === "stopped" ? undefined : host.processId)),
    connect: (epoch) => traffic.connect(epoch),
    disconnect: () => traffic.disconnect(),
    receive: (frame) => traffic.receive(frame),
    noteWork: () => traffic.noteWork(),
    draft: draftFault === undefined ? draft?.path : undefined,
    stats: () => traffic.stats(),
    ended: Deferred.await(lost)
  }
})

// internal

/** `pipelineHost.ts` in the folder of the hosts. */
const pipelineHostPath = fileURLToPath(new URL("../internal/pipelineHost.ts", import.meta.url))

/** A stage that is stuck is found out that much later at most. */
const lookEvery = Duration.millis(250)
/** Longer than the pauses of a network or of a busy computer mostly are. */
const stallAtFirst = Duration.seconds(2)

type Ready = Extract<PipelineEvent, { readonly _tag: "Ready" }>

const driving = ({ draft, model, speculates, stall }: PipelineEngineOptions) => ({
  speculates: speculates ?? true,
  ...(draft === undefined ? {} : { draft: { path: draft.path, contextTokens: DraftFile.contextTokens(draft, model) } }),
  stallMs: Duration.toMillis(stall ?? stallAtFirst)
})

/** What goes to a host and comes from it. */
class Traffic {
  readonly requests: EngineRequests.EngineRequests
  #send: HostProcess.HostProcess["send"] = () => false
  #state: EngineLoad["state"] = "loading"
  #epoch = 0
  #heard = 0
  readonly #times: StageTimes
  /** A stage said since the last look that it works. */
  #isWorking = false
  #stats: PipelineStats = { ownMs: 0, lookup: { drafted: 0, accepted: 0 } }

  constructor(
    private readonly options: PipelineEngineOptions,
    private readonly ready: Deferred.Deferred<Ready, EngineError>,
    private readonly lost: Deferred.Deferred<never, EngineError>
  ) {
    const { contextTokens, id, slots } = options.model
    this.#times = new StageTimes(options.file.header.layers)
    this.requests = EngineRequests.make(
      { slots, queuedMax: options.config.queuedMax, contextTokens },
      {
        onCounts: ({ active, queued }) => {
          EngineMetrics.activeSequences.set({ model: id }, active)
          EngineMetrics.queuedRequests.set({ model: id }, queued)
        },
        onTokens: (kind, count) => EngineMetrics.countTokens(id, kind, count)
      }
    )
  }

  begin(send: HostProcess.HostProcess["send"]): void {
    this.#send = send
    this.requests.attach(send)
  }

  stop(failure: GenerateFailure): void {
    this.#state = "stopped"
    this.#send = () => false
    this.requests.stop(failure)
  }

  state(): EngineLoad["state"] {
    return this.#state
  }

  stats(): PipelineStats {
    return this.#stats
  }

  seen(): HostWatch.HostSeen {
    return { hasWork: this.requests.sent() > 0, heard: this.#heard }
  }

  connect(epoch: number): void {
    if (this.#state === "stopped" || epoch <= this.#epoch) return
    this.#state = "ready"
    this.#epoch = epoch
    this.#send({ _tag: "Connect", epoch })
  }

  disconnect(): void {
    if (this.#state !== "ready") return
    this.#state = "restarting"
    this.#send({ _tag: "Disconnect" })
  }

  noteWork(): void {
    this.#isWorking = true
  }

  look(): void {
    this.#send({ _tag: "Look", isWorking: this.#isWorking })
    this.#isWorking = false
  }

  receive(bytes: Uint8Array): Either.Either<void, StageFrame.StageFrameError> {
    return Either.flatMap(StageFrame.decode(bytes), ({ kind }) => {
      if (kind === "tokens" || kind === "failed") return Either.right(void this.#send(bytes))
      return Either.left(new StageFrame.StageFrameError({ field: "kind", detail: `a ${kind} does not go to the host` }))
    })
  }

  onMessage(message: unknown): void {
    this.#heard++
    if (this.#state === "stopped") return
    const wrong = message instanceof Uint8Array ? this.#onFrame(message) : this.#onEvent(message)
    if (Either.isLeft(wrong)) Deferred.unsafeDone(this.lost, Effect.fail(wrong.left))
  }

  #onFrame(frame: Uint8Array): Either.Either<void, EngineError> {
    return Either.mapBoth(StageFrame.peek(frame), {
      onLeft: ({ message }) => broken(message),
      onRight: (about) => {
        if (about.kind === "window") this.#times.sent(about.rows)
        this.options.onFrame(frame, about)
      }
    })
  }

  #onEvent(message: unknown): Either.Either<void, EngineError> {
    return Either.flatMap(decodeEvent(message), (event): Either.Either<void, EngineError> => {
      switch (event._tag) {
        case "Progress":
          return Either.right(this.options.onProgress?.(event.fraction))
        case "Ready":
          return Either.right(Deferred.unsafeDone(this.ready, Effect.succeed(event)))
        case "Refused":
          return Either.left(new EngineError({ reason: event.reason, detail: event.detail }))
        case "Fault":
          return Either.right(this.options.onFault(event))
        case "Seen":
          this.#stats = event.stats
          return Either.void
        case "Turn":
          return this.#onTurn(event)
      }
    })
  }

  #onTurn(turn: EngineRequests.Turn): Either.Either<void, EngineError> {
    const { id } = this.options.model
    const { decodeSeconds } = turn
    if (decodeSeconds !== undefined) {
      EngineMetrics.decodeSeconds.observe(id, decodeSeconds)
      if (this.#times.turned(decodeSeconds)) SplitMetrics.stepped(decodeSeconds)
    }
    const wrong = this.requests.apply(turn)
    return wrong === undefined ? Either.void : Either.left(broken(wrong))
  }
}

const broken = (detail: string) => new EngineError({ reason: "protocol_broken", detail })

const decodePipelineEvent = PlainDecode.decoder(PipelineEvent)

const decodeEvent = (message: unknown) =>
  Either.mapLeft(decodePipelineEvent(message), (issue) => broken(ParseResult.TreeFormatter.formatIssueSync(issue)))

const engineLost: GenerateFailure = {
  code: "engine_lost",
  message: "The first stage of the pipeline that worked on this request was lost. Send the request again."
}
