/**
 * The engine host: a process of its own that holds one loaded model, so that a fault in native code ends it alone.
 * Commands come from the supervisor over descriptor 3 (`EngineProtocol.ts`), events go back the same way, one frame
 * per turn. Between turns the host looks for commands; without work it waits and uses no processor time.
 */
import * as PlainDecode from "@weft/mesh/PlainDecode"
import { Effect, Either, ParseResult, type Scope } from "effect"
import * as BatchLoop from "./BatchLoop.ts"
import { EngineError, fromOpening } from "./EngineError.ts"
import { HostCommand, type HostEvent } from "./EngineProtocol.ts"
import type { EngineTuning } from "./EngineTuning.ts"
import { HostInbox, type HostWork } from "./HostInbox.ts"
import * as HostTuning from "./HostTuning.ts"
import * as IncomingRequests from "./IncomingRequests.ts"
import * as FrameSocket from "./internal/FrameSocket.ts"
import * as Llama from "./internal/llama/Llama.ts"

/**
 * Turns that follow each other at once while nothing comes. A turn of the event loop between two of them is half a
 * percent of a token of 9 ms, as its code is cold each time; what else the process has to do there can wait so long.
 */
const turnsInRowMax = 16

/** Descriptor of the channel in the host's process, the first after the standard ones. */
export const channelDescriptor = 3

/** Runs the host until the supervisor closes the channel; fails where a command cannot be read or llama.cpp fails. */
export const run: Effect.Effect<void, EngineError, Scope.Scope> = Effect.gen(function* () {
  const inbox = new HostInbox()
  const socket = yield* FrameSocket.open(channelDescriptor, {
    onFrame: (frame) => inbox.push(frame),
    onClose: () => inbox.close()
  })
  const send = (event: HostEvent): void => void socket.send(event)
  const first = yield* inbox.first
  if (first === undefined) return
  const load = yield* decodeCommand(first)
  if (load._tag !== "Load") return yield* broken(`the first command is ${load._tag}`)
  const loaded = yield* Effect.either(openModel(load, send))
  if (Either.isLeft(loaded)) {
    const { detail, reason } = loaded.left
    return send({ _tag: "Refused", reason, detail: detail.slice(0, detailCharactersMax) })
  }
  const llama = loaded.right
  const tuning = HostTuning.make(llama, tuningOptions(load), () => performance.now())
  const measured = load.calibration === undefined ? { calibration: tuning.calibration } : {}
  send({ _tag: "Tuned", tuning: tuning.tuning(), ...measured })
  send({ _tag: "Ready" })
  const isQuiet = () => socket.isSent() && llama.isSilent(channelDescriptor)
  const serving = new Serving(llama, tuning, load, { send, isQuiet })
  return yield* inbox.serve(serving)
})

// internal

/** Most characters of a refusal: the bound of its schema. */
const detailCharactersMax = 1024

const nothing: ReadonlyArray<never> = []

type Load = Extract<HostCommand, { readonly _tag: "Load" }>

const broken = (detail: string) => new EngineError({ reason: "protocol_broken", detail })

const decodeHostCommand = PlainDecode.decoder(HostCommand)

const decodeCommand = (frame: unknown) =>
  Either.mapLeft(decodeHostCommand(frame), (issue) => broken(ParseResult.TreeFormatter.formatIssueSync(issue)))

const tuningOptions = ({ calibration, contextTokens, prefillTokens, profile, threads }: Load) => ({
  profile,
  threadsMax: threads,
  prefillTokens,
  contextTokens,
  calibration
})

const openModel = (load: Load, send: (event: HostEvent) => void) =>
  Effect.acquireRelease(
    Effect.try({
      try: () =>
        Llama.open({
          ...load,
          rowsMax: BatchLoop.rowsMax(load),
          onProgress: (fraction) => send({ _tag: "Progress", fraction })
        }),
      catch: fromOpening
    }),
    (llama) => Effect.sync(llama.close)
  )

/** Represents the host's end of the channel. */
interface Channel {
  readonly send: (event: HostEvent) => void
  /** Nothing has come, and nothing waits to be sent. */
  readonly isQuiet: () => boolean
}

/** The requests of a host, from their frames to their events. */
class Serving implements HostWork {
  readonly #loop: BatchLoop.BatchLoop
  readonly #incoming: IncomingRequests.IncomingRequests
  #told: EngineTuning

  constructor(
    llama: Llama.Llama,
    private readonly tuning: HostTuning.HostTuning,
    load: Load,
    private readonly channel: Channel
  ) {
    this.#loop = BatchLoop.make(llama, { ...load, prefillTokens: tuning.prefillTokens }, tuning.decode)
    this.#incoming = IncomingRequests.make(llama, load.contextTokens)
    this.#told = tuning.tuning()
  }

  busy(): boolean {
    return !this.#incoming.isEmpty() || !this.#loop.idle()
  }

  /** Follows commands and computes turns until something comes; returns what is wrong with a command. */
  step(frames: ReadonlyArray<unknown>): EngineError | undefined {
    const cancelled: Array<number> = []
    for (const frame of frames) {
      const command = decodeCommand(frame)
      if (Either.isLeft(command)) return command.left
      if (command.right._tag === "Load") return broken("a second Load")
      this.#follow(command.right, cancelled)
    }
    const refused = this.#incoming.prepareSome((key, prepared) => this.#loop.submit(key, prepared))
    if (this.#loop.idle()) {
      if (cancelled.length > 0 || refused.length > 0) this.channel.send({ _tag: "Turn", cancelled, events: refused })
      return undefined
    }
    this.#turn(cancelled, refused)
    const goesOn = () => !this.#loop.idle() && this.#incoming.isEmpty() && this.channel.isQuiet()
    for (let turns = 1; turns < turnsInRowMax && goesOn(); turns++) this.#turn(nothing, nothing)
    return undefined
  }

  #turn(cancelled: ReadonlyArray<number>, refused: ReadonlyArray<BatchLoop.KeyedEvent>): void {
    const startedMs = performance.now()
    const drawn = this.#loop.turn()
    const decodeSeconds = (performance.now() - startedMs) / 1000
    const events = refused.length > 0 ? [...refused, ...drawn] : drawn
    this.channel.send({ _tag: "Turn", cancelled, events, decodeSeconds })
    const chosen = this.tuning.tuning()
    if (chosen !== this.#told) this.channel.send({ _tag: "Tuned", tuning: chosen })
    this.#told = chosen
  }

  #follow(command: Exclude<HostCommand, Load>, cancelled: Array<number>): void {
    if (command._tag === "Generate") {
      this.#incoming.add(command.key, command.request)
      return
    }
    this.#incoming.drop(command.key)
    this.#loop.cancel(command.key)
    cancelled.push(command.key)
  }
}
