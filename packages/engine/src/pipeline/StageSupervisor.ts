/**
 * One stage of a model on this computer. Child: one `StageHost` process, started once; when it is lost, so are its
 * jobs, and the pipeline's owner decides what becomes of them. Frames of the stage before go in through `send`, those
 * for the next stage and the host come out at a listener, as bytes.
 */
import { fileURLToPath } from "node:url"
import * as PlainDecode from "@weft/mesh/PlainDecode"
import { Deferred, Duration, Effect, Either, Option, ParseResult, Schedule, type Scope } from "effect"
import * as CalibrationFile from "../CalibrationFile.ts"
import type { EngineConfig } from "../EngineConfig.ts"
import { EngineError } from "../EngineError.ts"
import * as HostWatch from "../HostWatch.ts"
import * as HostProcess from "../internal/HostProcess.ts"
import type { ModelFile } from "../ModelFile.ts"
import type { StageKeys } from "../stage/StageKeys.ts"
import type { ActivationType } from "./Activations.ts"
import * as StageFrame from "./StageFrame.ts"
import * as StageLaunch from "./StageLaunch.ts"
import * as StageLeases from "./StageLeases.ts"
import { StageEvent } from "./StageProtocol.ts"

/** Represents what a stage is started with. */
export interface StageOptions {
  /** A stage file that `ModelFile.open` has checked. */
  readonly file: ModelFile
  /** Of an engine; its profile and what it has for prompts are the split's own here. */
  readonly config: EngineConfig
  /** Most bytes that the file and the cells may take. */
  readonly memoryBytesMax: number
  /** How hidden states are stored on their way to the next stage; `f32` where absent. */
  readonly activations?: ActivationType | undefined
  /** Time after which a job that nobody was heard of is closed. */
  readonly lease: Duration.Duration
  /** Told each frame the stage gives out, in order; it must return quickly. */
  readonly onFrame: (frame: Uint8Array, about: StageFrame.Peeked) => void
  /** Told the seconds of each turn that computed something. */
  readonly onTurn?: (decodeSeconds: number) => void
  /** Called with 0…1 while the stage loads. */
  readonly onProgress?: (fraction: number) => void
}

/** Represents a stage that is up. */
export interface Stage {
  readonly processId: number
  readonly keys: StageKeys
  /** Values of a hidden state. */
  readonly width: number
  /** Most tokens of a job. */
  readonly contextTokens: number
  /** Milliseconds of one row on one thread, as its first start here measured it. */
  readonly startMs: number
  /**
   * Hands a frame to the stage, which may fail its job over it. What is not of a kind that goes on is refused here;
   * after the end nothing happens.
   */
  readonly send: (frame: Uint8Array) => Either.Either<void, StageFrame.StageFrameError>
  /** Jobs that are open. */
  readonly jobs: () => number
  /** Frames wait for it, or windows in it. */
  readonly hasWork: () => boolean
  /** Waits for the end of the stage and fails with how it ended; its scope is then to be closed. */
  readonly ended: Effect.Effect<never, EngineError>
}

/** Returns a stage once it is loaded; its host is killed with the scope. Fails where it does not fit or come up. */
export const make = Effect.fn("StageSupervisor.make")(function* (
  options: StageOptions
): Effect.fn.Return<Stage, EngineError, Scope.Scope> {
  const { config } = options
  const { contextTokens, keys, load, subject } = yield* StageLaunch.make(options)
  const clock = yield* Effect.clock
  const ready = yield* Deferred.make<Ready, EngineError>()
  const lost = yield* Deferred.make<never, EngineError>()
  const traffic = new Traffic(options, ready, lost, () => clock.unsafeCurrentTimeMillis())
  const spawn = yield* HostProcess.HostSpawn
  const host = yield* spawn({
    command: config.hostCommand ?? [process.execPath, stageHostPath],
    environment: config.environment,
    onFrame: (frame) => traffic.onMessage(frame)
  })
  yield* Effect.forkScoped(Effect.catchAllCause(host.ended, (cause) => Deferred.failCause(lost, cause)))
  const known = Option.getOrUndefined(yield* CalibrationFile.read(config.calibrationPath, subject))
  host.send(load(known))
  const { calibration, width } = yield* Effect.raceFirst(Deferred.await(ready), Deferred.await(lost)).pipe(
    HostWatch.loading(config.loadDeadline)
  )
  if (known === undefined) yield* CalibrationFile.write(config.calibrationPath, subject, calibration)
  traffic.begin(host.send)
  const watch = HostWatch.standstill(config, host.processId, () => traffic.seen())
  yield* Effect.forkScoped(Effect.catchAllCause(watch, (cause) => Deferred.failCause(lost, cause)))
  const look = Schedule.spaced(Duration.times(options.lease, 1 / leaseLooks))
  yield* Effect.forkScoped(
    Effect.repeat(
      Effect.sync(() => traffic.expire()),
      look
    )
  )
  return {
    processId: host.processId,
    keys,
    width,
    contextTokens,
    startMs: calibration.oneRowMs,
    send: (frame) => traffic.send(frame),
    jobs: () => traffic.jobs(),
    hasWork: () => traffic.seen().hasWork,
    ended: Deferred.await(lost)
  }
})

// internal

/** `stageHost.ts` in the folder of the hosts. */
const stageHostPath = fileURLToPath(new URL("../internal/stageHost.ts", import.meta.url))

/** Looks per lease: it is kept to a quarter. */
const leaseLooks = 4

type Ready = Extract<StageEvent, { readonly _tag: "Ready" }>

/** What goes to a host and comes from it. */
class Traffic {
  #send: HostProcess.HostProcess["send"] = () => false
  #leases = StageLeases.none
  #sent = 0
  #heard = 0
  #turn = { taken: 0, waiting: 0 }

  constructor(
    private readonly options: StageOptions,
    private readonly ready: Deferred.Deferred<Ready, EngineError>,
    private readonly lost: Deferred.Deferred<never, EngineError>,
    private readonly nowMs: () => number
  ) {}

  begin(send: HostProcess.HostProcess["send"]): void {
    this.#send = send
  }

  jobs(): number {
    return this.#leases.heardMs.size
  }

  seen(): HostWatch.HostSeen {
    return { hasWork: this.#turn.taken < this.#sent || this.#turn.waiting > 0, heard: this.#heard }
  }

  send(frame: Uint8Array): Either.Either<void, StageFrame.StageFrameError> {
    const peeked = StageFrame.peek(frame)
    if (Either.isLeft(peeked)) return Either.left(peeked.left)
    const about = peeked.right
    if (about.isForHost) return refused("kind", `a ${about.kind} goes to the host, not to a stage`)
    if (!this.#send(frame)) return refused("payload", `${frame.length} bytes are more than any stage takes`)
    this.#sent++
    this.#leases = StageLeases.hear(this.#leases, about, this.options.config.slots, this.nowMs())
    return Either.void
  }

  /** Closes the jobs that nobody drives any more. */
  expire(): void {
    const leaseMs = Duration.toMillis(this.options.lease)
    for (const name of StageLeases.expired(this.#leases, leaseMs, this.nowMs()))
      this.send(StageFrame.encode({ kind: "close", ...name }))
  }

  onMessage(message: unknown): void {
    this.#heard++
    const wrong = message instanceof Uint8Array ? this.#onFrame(message) : this.#onEvent(message)
    if (Either.isLeft(wrong)) Deferred.unsafeDone(this.lost, Effect.fail(wrong.left))
  }

  #onFrame(frame: Uint8Array): Either.Either<void, EngineError> {
    const about = StageFrame.peek(frame)
    return Either.isRight(about)
      ? Either.right(this.options.onFrame(frame, about.right))
      : Either.left(broken(about.left.message))
  }

  #onEvent(message: unknown): Either.Either<void, EngineError> {
    return Either.flatMap(decodeEvent(message), (event) => {
      switch (event._tag) {
        case "Progress":
          return Either.right(this.options.onProgress?.(event.fraction))
        case "Ready":
          return Either.right(Deferred.unsafeDone(this.ready, Effect.succeed(event)))
        case "Refused":
          return Either.left(new EngineError({ reason: event.reason, detail: event.detail }))
        case "Turn": {
          this.#turn = event
          if (event.decodeSeconds !== undefined) this.options.onTurn?.(event.decodeSeconds)
          return Either.void
        }
      }
    })
  }
}

const refused = (field: string, detail: string) => Either.left(new StageFrame.StageFrameError({ field, detail }))

const broken = (detail: string) => new EngineError({ reason: "protocol_broken", detail })

const decodeStageEvent = PlainDecode.decoder(StageEvent)

const decodeEvent = (message: unknown) =>
  Either.mapLeft(decodeStageEvent(message), (issue) => broken(ParseResult.TreeFormatter.formatIssueSync(issue)))
