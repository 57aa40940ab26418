/**
 * Hosts of stages in the place of their child processes: the real work of each over a model that is arithmetic, on the
 * clock of the simulation, with deaths, silence and lies on order.
 */

import { EngineError } from "@weft/engine/EngineError"
import type { HostWork } from "@weft/engine/HostInbox"
import * as PipelineHost from "@weft/engine/pipeline/PipelineHost"
import type { PipelineLoad } from "@weft/engine/pipeline/PipelineHostProtocol"
import * as StageHost from "@weft/engine/pipeline/StageHost"
import * as StageLoop from "@weft/engine/pipeline/StageLoop"
import type { StageLoad } from "@weft/engine/pipeline/StageProtocol"
import { type Clock, Deferred, Effect, type Scope } from "effect"
import type { HostProcess, HostProcessOptions } from "../../../packages/engine/src/internal/HostProcess.ts"
import * as Arithmetic from "./arithmetic.ts"

/** Represents what a child takes, in milliseconds. */
export interface ChildTimes {
  readonly loadMs: number
  /** Of each decode, and of each of its rows. */
  readonly decodeMs: number
  readonly rowMs: number
}

/** Represents how a child is made. */
export interface ChildOptions {
  readonly times: ChildTimes
  /** Returns what goes out in place of a frame of it. */
  readonly tamper?: ((frame: Uint8Array) => ReadonlyArray<Uint8Array>) | undefined
  /** It refuses to load. */
  readonly refuses: boolean
}

/** Represents the children of one peer. */
export interface Children {
  readonly spawn: (options: HostProcessOptions) => Effect.Effect<HostProcess, EngineError, Scope.Scope>
  /** Those that live. */
  readonly alive: () => ReadonlyArray<Child>
}

/** Represents a child that lives. */
export interface Child {
  /** It runs the first stage, and the answers. */
  readonly isHost: boolean
  readonly kill: () => void
  /** It says and does nothing any more, and does not end. */
  readonly freeze: () => void
}

/** Returns the name of the file with these layers, by which a child knows its part. */
export const pathOf = (from: number, to: number): string => `layers ${from}-${to}`

/** Returns the children of one peer, none yet. */
export const make = (optionsOf: () => ChildOptions): Children => {
  const alive = new Set<Living>()
  let processes = 0
  return {
    alive: () => [...alive],
    spawn: (given) =>
      Effect.gen(function* () {
        const child = new Living(optionsOf(), given.onFrame, yield* Effect.clock)
        yield* Effect.acquireRelease(
          Effect.sync(() => alive.add(child)),
          () => Effect.sync(() => alive.delete(child))
        )
        yield* Effect.forkScoped(Effect.interruptible(child.run))
        return { processId: ++processes, send: (command) => child.take(command), ended: child.ended }
      })
  }
}

// internal

const lost = (detail: string) => new EngineError({ reason: "host_lost", detail })

class Living implements Child {
  isHost = false
  readonly #options: ChildOptions
  readonly #emit: (message: unknown) => void
  readonly #clock: Clock.Clock
  readonly #over = Effect.runSync(Deferred.make<never, EngineError>())
  readonly #arrival = Effect.unsafeMakeLatch(false)
  #inbox: Array<unknown> = []
  #state: "alive" | "frozen" | "dead" = "alive"
  /** What the turn under way has computed so far. */
  #aheadMs = 0

  constructor(options: ChildOptions, emit: (message: unknown) => void, clock: Clock.Clock) {
    this.#options = options
    this.#emit = emit
    this.#clock = clock
  }

  readonly ended: Effect.Effect<never, EngineError> = Effect.suspend(() => Deferred.await(this.#over))

  kill(): void {
    this.#state = "dead"
    Deferred.unsafeDone(this.#over, Effect.fail(lost("the engine host ended by signal SIGKILL")))
  }

  freeze(): void {
    if (this.#state === "alive") this.#state = "frozen"
  }

  /** Takes a command or a frame, as over a socket: what is sent is copied. */
  take(command: unknown): boolean {
    this.#inbox.push(command instanceof Uint8Array ? command.slice() : command)
    this.#arrival.unsafeOpen()
    return true
  }

  /** Works until it is killed; what is wrong with a step ends it. */
  readonly run: Effect.Effect<void> = Effect.gen(this, function* () {
    const load = yield* this.#next
    const { loadMs } = this.#options.times
    for (const fraction of [0.3, 0.6, 0.9]) {
      yield* Effect.sleep(loadMs / 3)
      this.#say([{ _tag: "Progress", fraction }])
    }
    if (this.#options.refuses)
      return this.#say([{ _tag: "Refused", reason: "model_unloadable", detail: "it was told to refuse" }])
    const sent: Array<unknown> = []
    const work = this.#open(load, (...messages) => void sent.push(...messages))
    const calibration = { threads: 1, oneRowMs: this.#options.times.rowMs, prefillTokens: 128 }
    this.#say([{ _tag: "Ready", width: Arithmetic.width, calibration }])
    while (true) {
      if (this.#inbox.length === 0 && !work.busy()) yield* this.#wait
      const wrong = work.step(this.#inbox.splice(0))
      if (this.#aheadMs > 0) yield* Effect.sleep(this.#aheadMs)
      this.#aheadMs = 0
      this.#say(sent.splice(0))
      if (wrong !== undefined) return void (yield* Deferred.fail(this.#over, lost(wrong.message)))
    }
  }).pipe(
    Effect.catchAllDefect((defect) => Deferred.fail(this.#over, lost(`defect: ${defect}`))),
    Effect.asVoid
  )

  // Inside

  readonly #wait = Effect.suspend(() => {
    this.#arrival.unsafeClose()
    return this.#arrival.await
  })

  readonly #next: Effect.Effect<StageLoad | PipelineLoad> = Effect.gen(this, function* () {
    if (this.#inbox.length === 0) yield* this.#wait
    // The supervisors' types say that it is a load of either kind.
    return this.#inbox.shift() as StageLoad | PipelineLoad
  })

  #open(load: StageLoad | PipelineLoad, send: (...messages: ReadonlyArray<unknown>) => void): HostWork {
    const [from = 0, to = 0] = (/(\d+)-(\d+)/.exec(load.path) ?? []).slice(1).map(Number)
    const { decodeMs, rowMs } = this.#options.times
    const llama = Arithmetic.open({
      from,
      to,
      slots: load.slots,
      onDecode: (rows) => {
        this.#aheadMs += decodeMs + rows * rowMs
      }
    })
    const loop = StageLoop.make(llama, { ...load, inputScale: undefined })
    const now = (): number => this.#clock.unsafeCurrentTimeMillis() + this.#aheadMs
    this.isHost = "speculates" in load
    if ("speculates" in load) return PipelineHost.make({ load, loop, text: Arithmetic.text, send, now })
    return StageHost.make({ load, loop, send, now })
  }

  #say(messages: ReadonlyArray<unknown>): void {
    const { tamper } = this.#options
    for (const message of messages) {
      if (this.#state !== "alive") return
      if (!(message instanceof Uint8Array) || tamper === undefined) this.#emit(message)
      else for (const frame of tamper(message)) this.#emit(frame)
    }
  }
}
