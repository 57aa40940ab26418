/**
 * A pipeline that this peer hosts, from the entry's `Form` to its end. Children: the engine with the first stage, and
 * a fiber for each lease of another peer's stage. What happens goes to `GroupTurn.ts`, whose actions are carried out
 * here. Frames go `engine → edge → first of the other stages`, and come back `edges of the stages → engine`.
 */
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import type { PeerId } from "@weft/mesh/PeerId"
import type { PeerLinks } from "@weft/mesh/PeerLinks"
import type { MeshStream } from "@weft/mesh/Transport"
import { Deferred, Effect, Either, type Fiber, FiberHandle, FiberId, FiberSet, Option, type Scope } from "effect"
import type { GroupAction, GroupHappening, GroupState, Wiring } from "./GroupState.ts"
import * as GroupTurn from "./GroupTurn.ts"
import * as HeldStage from "./HeldStage.ts"
import type { LayerTimeSource } from "./LayerTimes.ts"
import * as PipelineEngine from "./PipelineEngine.ts"
import type { PipelineFault, PipelineStats } from "./PipelineHostProtocol.ts"
import type { Form, GroupEvent, Spares, StagePlace } from "./PipelineProtocol.ts"
import * as SplitMetrics from "./SplitMetrics.ts"
import * as StageEdge from "./StageEdge.ts"
import * as StageFrame from "./StageFrame.ts"
import type { StagePermit } from "./StagePermit.ts"
import type { StageStock } from "./StageStock.ts"

/** Represents what a group is made of. */
export interface GroupOptions {
  readonly form: Form
  readonly stock: StageStock
  readonly links: PeerLinks["Type"]
  /** Tokens are guessed ahead where that pays. */
  readonly speculates: boolean
  /** Called with each thing worth telling the entry. */
  readonly tell: (event: GroupEvent) => void
  /** Called when answers may flow, with the model as its stages are now; again after each healing. */
  readonly onServing: (engine: PipelineEngine.PipelineEngine, model: ModelDescription) => void
}

/** Represents what a group shows of itself. */
export interface GroupStatus {
  readonly group: string
  readonly model: string
  readonly phase: GroupState["phase"]
  readonly epoch: number
  /** What the answers took and gave so far; absent before the host's own stage is loaded. */
  readonly stats: PipelineStats | undefined
  /** Path of the draft model that guesses; absent where none does. */
  readonly draft?: string
  readonly stages: ReadonlyArray<{
    readonly peer: PeerId
    readonly from: number
    readonly to: number
    readonly isReady: boolean
  }>
}

/** Represents a group while it lives. */
export interface Group {
  readonly id: string
  /** Takes an edge to the host; false where it is of no use. */
  readonly takeEdge: (edge: StageEdge.EdgeIn, from: PeerId) => boolean
  /** Takes note of who may take a stage over, and of the entry's permits for it. */
  readonly offer: (offer: Pick<Spares, "spares" | "permits">) => void
  readonly dissolve: (reason: string) => void
  readonly status: () => GroupStatus
  /** Completes when the group is disbanded. */
  readonly disbanded: Effect.Effect<void>
}

/** Begins a group, whose leases end with the scope. */
export const make = (options: GroupOptions): Effect.Effect<Group, never, Scope.Scope> =>
  Effect.gen(function* () {
    const run = yield* FiberSet.makeRuntime<never>()
    const wirings = yield* FiberHandle.make()
    const clock = yield* Effect.clock
    const over = yield* Deferred.make<void>()
    const group = new Hosting(options, {
      run: (effect) => run(Effect.interruptible(effect)),
      rewire: yield* FiberHandle.runtime(wirings)<never>(),
      now: () => clock.unsafeCurrentTimeMillis(),
      over: () => Deferred.unsafeDone(over, Effect.void)
    })
    // What came of the first actions waits until here.
    const look = Effect.sync(() => group.look())
    yield* Effect.forkScoped(Effect.interruptible(Effect.forever(Effect.delay(look, lookEvery))))
    return {
      id: options.form.group,
      takeEdge: (edge, from) => group.takeEdge(edge, from),
      offer: (offer) => group.offer(offer),
      dissolve: (reason) => group.take({ _tag: "Dissolved", reason }),
      status: () => group.status(),
      disbanded: Deferred.await(over)
    }
  })

// internal

/** Deadlines of a group are of seconds. */
const lookEvery = "1 second"
/** Of the time until the own stage is ready, what its file takes. */
const fileShare = 0.5

interface Parts {
  readonly run: (effect: Effect.Effect<void>) => Fiber.RuntimeFiber<void>
  readonly rewire: (effect: Effect.Effect<void>) => void
  readonly now: () => number
  readonly over: () => void
}

/** A lease as far as it is carried out. */
interface Slot {
  readonly place: StagePlace
  wiring: Wiring
  fiber: Fiber.RuntimeFiber<void> | undefined
  /** Where a `Reserve` was sent. */
  stream: MeshStream | undefined
}

class Hosting {
  readonly #options: GroupOptions
  readonly #parts: Parts
  readonly #slots = new Map<number, Slot>()
  readonly #waiting: Array<GroupHappening> = []
  /** Edges of the stages, by their peers, in the epoch of now. */
  readonly #incoming = new Map<PeerId, StageEdge.EdgeIn>()
  /** Of the form's peers, and of the spares of now. */
  #permits: ReadonlyMap<PeerId, StagePermit>
  #state: GroupState
  #isActing = false
  #engine: PipelineEngine.PipelineEngine | undefined
  #out: StageEdge.EdgeOut | undefined
  /** The stage that refused an answer last. */
  #refusedBy: PeerId | undefined

  constructor(options: GroupOptions, parts: Parts) {
    this.#options = options
    this.#parts = parts
    this.#permits = permitsOf(options.form.permits)
    const [state, actions] = GroupTurn.begin(options.form, parts.now())
    this.#state = state
    this.#perform(actions)
  }

  status(): GroupStatus {
    const { epoch, members, phase } = this.#state
    return {
      group: this.#options.form.group,
      model: this.#options.form.model.id,
      phase,
      epoch,
      stats: this.#engine?.stats(),
      ...(this.#engine?.draft === undefined ? {} : { draft: this.#engine.draft }),
      stages: members.map(({ place: { from, peer, to }, readyEpoch }) => ({
        peer,
        from,
        to,
        isReady: readyEpoch === epoch
      }))
    }
  }

  /** Takes what happens, one after the other: what is done about one may make another happen. */
  take(happening: GroupHappening): void {
    this.#waiting.push(happening)
    if (this.#isActing) return
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      SplitMetrics.countFailure(next._tag)
      const [state, actions] = GroupTurn.step(this.#state, next, this.#parts.now())
      this.#state = state
      this.#perform(actions)
    }
  }

  /** Lets time pass, and notes what the own stage takes. */
  look(): void {
    const rowMs = this.#engine?.stats().rowMs
    if (rowMs !== undefined) this.#measured(rowMs, "answers")
    this.take({ _tag: "Looked" })
  }

  offer({ permits, spares }: Pick<Spares, "spares" | "permits">): void {
    this.#permits = permitsOf([...this.#options.form.permits, ...permits])
    this.take({ _tag: "Offered", spares })
  }

  takeEdge(edge: StageEdge.EdgeIn, from: PeerId): boolean {
    const { epoch, to } = edge.edge
    const isStage = this.#state.members.some(({ lease, place }) => lease > 0 && place.peer === from)
    if (to !== "host" || epoch !== this.#state.epoch || !isStage || this.#incoming.has(from)) return false
    this.#incoming.set(from, edge)
    edge.attach({
      frameBytesMax: StageEdge.answerBytesMax,
      take: (frame) => this.#receive(frame, from),
      lost: (reason) => {
        if (this.#incoming.get(from) === edge) this.take({ _tag: "Parted", lease: 0, epoch, peer: from, reason })
      }
    })
    return true
  }

  // Inside

  #measured(rowMs: number, source: LayerTimeSource): void {
    const { form, stock } = this.#options
    const [own] = form.stages
    if (own !== undefined) stock.measured({ from: own.from, to: own.to, model: form.model }, rowMs, source)
  }

  #perform(actions: ReadonlyArray<GroupAction>): void {
    this.#isActing = true
    for (const action of actions) this.#act(action)
    this.#isActing = false
  }

  /** Takes a frame of a stage; false where it may not send that. */
  #receive(frame: Uint8Array, from: PeerId): boolean {
    const about = Either.getOrUndefined(StageFrame.peek(frame))
    if (about === undefined || !about.isForHost || about.epoch > this.#state.epoch) return false
    if (about.kind === "tokens" && this.#state.members.at(-1)?.place.peer !== from) return false
    if (about.epoch < this.#state.epoch || this.#engine === undefined) return true
    if (about.kind === "failed") this.#refusedBy = from
    return Either.isRight(this.#engine.receive(frame))
  }

  /** Says who is to blame for a fault, as far as that is known: the last stage, or whoever refused last. */
  #faultOf(epoch: number, kind: PipelineFault["kind"], reason: string): GroupHappening {
    const peer = kind === "refusal" ? this.#refusedBy : undefined
    return { _tag: "Faulted", epoch, kind, reason, ...(peer === undefined ? {} : { peer }) }
  }

  #act(action: GroupAction): void {
    switch (action._tag) {
      case "Reserve":
        return void this.#reserve(action.lease, action.place, action.wiring)
      case "Rewire":
        return void this.#rewire(action.lease, action.wiring)
      case "Release":
        return void this.#release(action.lease)
      case "Connect":
        return void this.#connect(action.epoch)
      case "Disconnect":
        return void this.#engine?.disconnect()
      case "Tell":
        this.#options.tell(action.event)
        if (action.event._tag === "Disbanded") this.#parts.over()
    }
  }

  #connect(epoch: number): void {
    const engine = this.#engine
    if (engine === undefined) return
    engine.connect(epoch)
    const stages = this.#state.members.map(({ place: { from, peer, to } }) => ({ peer, from, to }))
    this.#options.onServing(engine, { ...this.#options.form.model, stages })
  }

  #reserve(lease: number, place: StagePlace, wiring: Wiring): void {
    const slot: Slot = { place, wiring, fiber: undefined, stream: undefined }
    this.#slots.set(lease, slot)
    const held: Effect.Effect<void, { readonly message: string }, Scope.Scope> =
      lease === 0 ? this.#holdOwn(slot) : this.#hold(lease, slot)
    const lost = (reason: string) => Effect.sync(() => this.take({ _tag: "Lost", lease, reason }))
    slot.fiber = this.#parts.run(Effect.catchAll(Effect.scoped(held), ({ message }) => lost(message)))
  }

  #rewire(lease: number, wiring: Wiring): void {
    const slot = this.#slots.get(lease)
    if (slot === undefined) return
    slot.wiring = wiring
    if (lease === 0) {
      // Of the epoch before; the stages end them.
      for (const edge of this.#incoming.values()) edge.detach()
      this.#incoming.clear()
      return void this.#rewireOwn()
    }
    const { epoch, next, previous } = wiring
    if (previous !== null && slot.stream !== undefined) HeldStage.rewire(slot.stream, { epoch, previous, next })
  }

  #release(lease: number): void {
    const fiber = this.#slots.get(lease)?.fiber
    this.#slots.delete(lease)
    fiber?.unsafeInterruptAsFork(FiberId.none)
  }

  /** Holds a stage of another peer until one of the two ends it. */
  #hold(lease: number, slot: Slot) {
    const permit = this.#permits.get(slot.place.peer)
    if (permit === undefined) return Effect.fail({ message: "the entry gave no permit for it" })
    const { form, links, stock } = this.#options
    return HeldStage.hold({ form, stock, links, permit, place: slot.place, wiring: () => slot.wiring }, lease, {
      reserved: (stream) => {
        slot.stream = stream
      },
      happened: (happening) => this.take(happening),
      worked: (epoch) => {
        if (epoch === this.#state.epoch) this.#engine?.noteWork()
      }
    })
  }

  /** Loads the own stage with the engine that drives the answers, and wires it. */
  #holdOwn(slot: Slot) {
    const { form, stock } = this.#options
    const { contextTokens, slots } = form.model
    const loading = (fraction: number) => this.take({ _tag: "Loading", lease: 0, fraction })
    return Effect.gen(this, function* () {
      const { from, to } = slot.place
      const terms = { from, to, model: form.model, layers: form.layers, contextTokens, slots }
      const { config, file, memoryBytes } = yield* stock.take(terms, (fraction) => loading(fraction * fileShare))
      const draft = this.#options.speculates ? Option.getOrUndefined(yield* stock.takeDraft(terms)) : undefined
      const engine = yield* PipelineEngine.make({
        file,
        draft: draft?.file,
        model: form.model,
        config,
        memoryBytesMax: memoryBytes + (draft?.memoryBytes ?? 0),
        activations: form.activations,
        speculates: this.#options.speculates,
        onFrame: (frame, { epoch }) => {
          if (epoch === this.#state.epoch) this.#out?.send(frame)
        },
        onFault: ({ epoch, kind, reason }) => this.take(this.#faultOf(epoch, kind, reason)),
        onProgress: (fraction) => loading(fileShare + fraction * (1 - fileShare))
      })
      this.#engine = engine
      this.#measured(engine.startMs, "start")
      this.#rewireOwn()
      return yield* engine.ended
    })
  }

  /** Opens the edge to the first of the other stages, and keeps it until there is another wiring. */
  #rewireOwn(): void {
    this.#out = undefined
    const [slot, engine] = [this.#slots.get(0), this.#engine]
    const next = slot?.wiring.next
    if (slot === undefined || engine === undefined || !next) return
    const { epoch } = slot.wiring
    const parted = (reason: string) => this.take({ _tag: "Parted", lease: 0, epoch, peer: next.peer, reason })
    const wired = Effect.gen(this, function* () {
      const link = yield* this.#options.links.get(next)
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          this.#out = StageEdge.open(
            link,
            { _tag: "Edge", group: this.#options.form.group, epoch, to: "next" },
            {
              opened: () => this.take({ _tag: "Ready", lease: 0, epoch, width: engine.width }),
              lost: parted
            }
          )
          return this.#out
        }),
        (out) => Effect.sync(() => out.close())
      )
      return yield* Effect.never
    })
    this.#parts.rewire(Effect.catchAll(Effect.scoped(wired), ({ message }) => Effect.sync(() => parted(message))))
  }
}

const permitsOf = (permits: ReadonlyArray<StagePermit>): ReadonlyMap<PeerId, StagePermit> =>
  new Map(permits.map((permit) => [permit.peer, permit]))
