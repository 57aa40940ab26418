/**
 * A stage that this peer lends to a pipeline, from its `Reserve` to the end of the stream that it came on. Child: the
 * stage's process. Frames come in over an edge of the stage before, go through the process, and leave over edges to
 * the next stage and to the host; each `Rewire` makes the edges anew. Runs in its stream's fiber, for `StageLender.ts`.
 */
import * as Frames from "@weft/mesh/Frames"
import * as Link from "@weft/mesh/Link"
import type { StreamError } from "@weft/mesh/MeshError"
import type { PeerId } from "@weft/mesh/PeerId"
import type { PeerLinks } from "@weft/mesh/PeerLinks"
import type { MeshStream } from "@weft/mesh/Transport"
import { Data, Duration, Effect, Either, FiberHandle, Option, type Scope } from "effect"
import type { EngineError } from "../EngineError.ts"
import type { LayerTimeSource } from "./LayerTimes.ts"
import { type PeerPlace, reasonOf, StageReply, StageRequest } from "./PipelineProtocol.ts"
import * as SplitMetrics from "./SplitMetrics.ts"
import * as StageEdge from "./StageEdge.ts"
import * as StageFrame from "./StageFrame.ts"
import type { NotInStock, StageStock, StockedStage } from "./StageStock.ts"
import * as StageSupervisor from "./StageSupervisor.ts"
import { StageTimes } from "./StageTimes.ts"

/** Represents the first message of a lease. */
export type Reserve = Extract<StageRequest, { readonly _tag: "Reserve" }>

/** Represents what a lease is made of. */
export interface StageLeaseOptions {
  readonly reserve: Reserve
  /** The host's link, and the stream on it that is the lease. */
  readonly link: Link.Link
  readonly stream: MeshStream
  /** Behind the `Reserve`. */
  readonly frames: Frames.FrameReader
  readonly stock: StageStock
  readonly links: PeerLinks["Type"]
  /** Called when the lease has come to a later epoch: an edge that it had no use for may be the one that it needs. */
  readonly onRewired: () => void
}

/** Represents what a lease shows of itself. */
export interface StageLeaseStatus {
  readonly group: string
  readonly model: string
  readonly host: PeerId
  readonly from: number
  readonly to: number
  readonly epoch: number
  readonly state: "loading" | "ready"
  /** Answers under way. */
  readonly jobs: number
  readonly msPerLayer: number | undefined
  /** Of its host, once it is loaded. */
  readonly processId: number | undefined
}

/** Represents how a lease ended, by itself or by its host. */
export class LeaseEnded extends Data.TaggedError("LeaseEnded")<{
  readonly reason: "released" | "refused" | "lost" | "malformed"
  readonly message: string
}> {}

/** Longest message of a host: a `Reserve` with a long model name. */
export const requestBytesMax = 8 * 1024
/** A host that does not read is sent some replies; a reply is 700 bytes at most. */
const repliesBytesMax = 64 * 1024
/** How long a job stays that nobody is heard of: hosts re-make a pipeline in less, or give it up. */
const jobLease = Duration.minutes(5)
/** Of the time until a stage is ready, what the file takes. */
const fileShare = 0.5
/** Least rise of a fraction that is told. */
const fractionStep = 0.02
/** A host misses a stage that says nothing for two seconds, so some words of it may be late. */
const workEvery = "500 millis"

/** A lease while it lives. */
export class StageLease {
  readonly #options: StageLeaseOptions
  readonly #times: StageTimes
  #wiring: Pick<Reserve, "epoch" | "previous" | "next">
  #stage: StageSupervisor.Stage | undefined
  #loaded: StockedStage | undefined
  #out: { readonly host: StageEdge.EdgeOut; readonly next: StageEdge.EdgeOut | undefined } | undefined
  #incoming: StageEdge.EdgeIn | undefined
  #attached: StageEdge.EdgeIn | undefined
  #fraction = 0
  #receivedBytes = 0

  constructor(options: StageLeaseOptions) {
    const { from, to } = options.reserve
    this.#options = options
    this.#wiring = options.reserve
    this.#times = new StageTimes(to - from)
  }

  get group(): string {
    return this.#options.reserve.group
  }

  get host(): PeerId {
    return this.#options.link.peer
  }

  status(): StageLeaseStatus {
    const { from, model, to } = this.#options.reserve
    return {
      group: this.group,
      model: model.id,
      host: this.host,
      from,
      to,
      epoch: this.#wiring.epoch,
      state: this.#stage === undefined ? "loading" : "ready",
      jobs: this.#stage?.jobs() ?? 0,
      msPerLayer: this.#times.msPerLayer() ?? undefined,
      processId: this.#stage?.processId
    }
  }

  /** Loads the layers and lends them; always ends in a failure that says how it ended. */
  readonly run: Effect.Effect<never, LeaseEnded, Scope.Scope> = Effect.gen(this, function* () {
    yield* Effect.addFinalizer(() => Effect.sync(() => this.#letGo()))
    const wirings = yield* FiberHandle.make()
    const rewire = yield* FiberHandle.runtime(wirings)<never>()
    const listening = this.#listen(() => {
      if (this.#stage !== undefined) rewire(this.#wire(this.#stage))
    })
    const lending = Effect.gen(this, function* () {
      const stage = yield* this.#load()
      this.#stage = stage
      this.#measured(stage.startMs, "start")
      rewire(this.#wire(stage))
      return yield* Effect.mapError(stage.ended, lostOf)
    })
    const telling = Effect.forever(Effect.delay(this.#tellWork, workEvery))
    return yield* Effect.raceFirst(Effect.raceFirst(listening, lending), telling)
  })

  /** Takes an edge of the stage before; false where this lease has no use for it, or none yet. */
  takeEdge(edge: StageEdge.EdgeIn, from: PeerId): boolean {
    const { epoch, to } = edge.edge
    if (to !== "next" || epoch !== this.#wiring.epoch || from !== this.#wiring.previous) return false
    if (this.#incoming !== undefined) return false
    this.#incoming = edge
    this.#attach()
    return true
  }

  // Inside

  /** Tells the stage before that nothing takes its frames any more. */
  #letGo(): void {
    this.#incoming?.reset()
  }

  /** Says that frames come in or are computed, where it is so, and notes what that takes; its supervisor watches it. */
  readonly #tellWork = Effect.sync(() => {
    const layerMs = this.#times.msPerLayer()
    if (layerMs !== null) this.#measured(layerMs * this.#times.layers, "answers")
    const receivedBytes = this.#incoming?.receivedBytes() ?? 0
    const isWorking = receivedBytes !== this.#receivedBytes || this.#stage?.hasWork() === true
    this.#receivedBytes = receivedBytes
    if (isWorking) this.#say({ _tag: "Working", epoch: this.#wiring.epoch })
  })

  #measured(rowMs: number, source: LayerTimeSource): void {
    this.#options.stock.measured(this.#options.reserve, rowMs, source)
  }

  #attach(): void {
    const [stage, edge] = [this.#stage, this.#incoming]
    if (stage === undefined || edge === undefined || edge === this.#attached) return
    this.#attached = edge
    edge.attach({
      frameBytesMax: StageEdge.frameBytesMax(stage.width),
      take: (frame) => this.#take(stage, frame),
      lost: (reason) => {
        if (this.#incoming !== edge) return
        this.#incoming = undefined
        this.#parted(edge.edge.epoch, this.#wiring.previous, reason)
      }
    })
  }

  /** Hands a frame to the stage; false where the stage before may not send it. */
  #take(stage: StageSupervisor.Stage, frame: Uint8Array): boolean {
    const about = Either.getOrUndefined(StageFrame.peek(frame))
    if (about === undefined || about.isForHost || about.epoch > this.#wiring.epoch) return false
    if (about.epoch < this.#wiring.epoch) return true
    if (about.kind === "window") this.#times.sent(about.rows)
    return Either.isRight(stage.send(frame))
  }

  /** Takes what the host asks until it ends the lease. */
  #listen(rewired: () => void): Effect.Effect<never, LeaseEnded> {
    const { frames } = this.#options
    return Effect.forever(
      Effect.flatMap(Effect.mapError(frames.read(StageRequest), brokenOf), (message) => {
        if (Option.isNone(message)) return new LeaseEnded({ reason: "released", message: "the host ended the lease" })
        const request = message.value
        if (request._tag !== "Rewire") return malformed("a lease is reserved once")
        if (request.epoch <= this.#wiring.epoch) return malformed("an epoch that is no later one")
        this.#out = undefined
        this.#incoming?.detach()
        this.#incoming = undefined
        this.#wiring = request
        this.#options.onRewired()
        return Effect.sync(rewired)
      })
    )
  }

  #load() {
    const { reserve, stock } = this.#options
    return Effect.gen(this, function* () {
      const stocked = yield* Effect.mapError(
        stock.take(reserve, (fraction) => this.#progress(fraction * fileShare)),
        refusedOf
      )
      this.#loaded = stocked
      return yield* Effect.mapError(
        StageSupervisor.make({
          file: stocked.file,
          config: stocked.config,
          memoryBytesMax: stocked.memoryBytes,
          activations: reserve.activations,
          lease: jobLease,
          onFrame: (frame, about) => this.#give(frame, about),
          onTurn: (seconds) => {
            if (this.#times.turned(seconds)) SplitMetrics.stepped(seconds)
          },
          onProgress: (fraction) => this.#progress(fileShare + fraction * (1 - fileShare))
        }),
        refusedOf
      )
    })
  }

  /** Opens the edges of the wiring of now, and keeps them until there is another. */
  #wire(stage: StageSupervisor.Stage): Effect.Effect<never> {
    const { epoch, next, previous } = this.#wiring
    const opened = Effect.gen(this, function* () {
      if (previous !== null) {
        const host = yield* this.#edgeTo(this.#options.link, "host", epoch)
        const link = next === null ? undefined : yield* this.#linkTo(next)
        const edge = link === undefined ? undefined : yield* this.#edgeTo(link, "next", epoch)
        this.#out = { host, next: edge }
        this.#attach()
      }
      this.#say({
        _tag: "Ready",
        epoch,
        stageSha256: this.#loaded?.file.sha256 ?? "",
        width: stage.width,
        msPerLayer: this.#times.msPerLayer()
      })
      return yield* Effect.never
    })
    const parted = ({ peer, reason }: Parted) =>
      Effect.zipRight(
        Effect.sync(() => this.#parted(epoch, peer, reason)),
        Effect.never
      )
    return Effect.catchAll(Effect.scoped(opened), parted)
  }

  #linkTo(place: PeerPlace) {
    return Effect.mapError(
      this.#options.links.get(place),
      ({ message }) => new Parted({ peer: place.peer, reason: message })
    )
  }

  #edgeTo(link: Link.Link, to: "next" | "host", epoch: number): Effect.Effect<StageEdge.EdgeOut, Parted, Scope.Scope> {
    return Effect.acquireRelease(
      Effect.async<StageEdge.EdgeOut, Parted>((resume) => {
        let isOpen = false
        const edge: StageEdge.EdgeOut = StageEdge.open(
          link,
          { _tag: "Edge", group: this.group, epoch, to },
          {
            opened: () => {
              isOpen = true
              resume(Effect.succeed(edge))
            },
            lost: (reason) => {
              if (isOpen) this.#parted(epoch, link.peer, reason)
              else resume(new Parted({ peer: link.peer, reason }))
            }
          }
        )
        return Effect.sync(() => edge.close())
      }),
      (edge) => Effect.sync(() => edge.close())
    )
  }

  #give(frame: Uint8Array, about: StageFrame.Peeked): void {
    if (about.epoch !== this.#wiring.epoch) return
    if (about.isForHost) this.#out?.host.send(frame)
    else this.#out?.next?.send(frame)
  }

  #progress(fraction: number): void {
    if (fraction < this.#fraction + fractionStep) return
    this.#fraction = fraction
    this.#say({ _tag: "Loading", fraction })
  }

  #parted(epoch: number, peer: PeerId | null, reason: string): void {
    if (peer === null || epoch !== this.#wiring.epoch) return
    this.#say({ _tag: "Parted", epoch, peer, reason: reasonOf(reason) })
  }

  #say(reply: StageReply): void {
    if (this.#options.stream.unsafeWrite(encodeReply(reply)) > repliesBytesMax)
      this.#options.stream.unsafeReset(Link.ResetCode.overrun)
  }
}

/** Tells the host how a lease ended, where it did not end it itself; waits until it has read that. */
export const farewell = (stream: MeshStream, { message, reason }: LeaseEnded): Effect.Effect<void> => {
  if (reason === "released" || reason === "malformed") return Effect.void
  const last = { _tag: reason === "refused" ? "Refused" : "Lost", reason: reasonOf(message) } as const
  return stream
    .write(encodeReply(last))
    .pipe(Effect.zipRight(stream.end), Effect.zipRight(stream.closed), Effect.timeout(farewellDeadline), Effect.ignore)
}

// internal

/** Some round trips; a host that does not end its direction is not waited for. */
const farewellDeadline = "5 seconds"

const encodeReply = Frames.encode(StageReply)

/** A peer that frames cannot go to. */
class Parted extends Data.TaggedError("Parted")<{ readonly peer: PeerId; readonly reason: string }> {}

const malformed = (message: string) => new LeaseEnded({ reason: "malformed", message })
const lostOf = ({ message }: EngineError) => new LeaseEnded({ reason: "lost", message })
const refusedOf = ({ message }: NotInStock | EngineError) => new LeaseEnded({ reason: "refused", message })
const brokenOf = (error: Frames.FrameError | StreamError) =>
  error._tag === "FrameError"
    ? malformed(error.message)
    : new LeaseEnded({ reason: "released", message: error.message })
