/**
 * The host of a stage: a process of its own that holds one part of a model, so that a fault in native code ends it
 * alone. Stage frames come from the supervisor and go back to it over descriptor 3, as they come; between two turns the
 * host looks for more, and without work it waits and uses no processor time.
 */
import * as PlainDecode from "@weft/mesh/PlainDecode"
import { Effect, Either, ParseResult, type Scope } from "effect"
import { EngineError } from "../EngineError.ts"
import { channelDescriptor } from "../EngineHost.ts"
import { HostInbox, type HostWork } from "../HostInbox.ts"
import * as FrameSocket from "../internal/FrameSocket.ts"
import * as StageFrame from "./StageFrame.ts"
import type { StageLoop } from "./StageLoop.ts"
import * as StageOpening from "./StageOpening.ts"
import { type StageEvent, StageLoad } from "./StageProtocol.ts"

/** Runs the host until the supervisor closes the channel; fails where it says what no supervisor says. */
export const run: Effect.Effect<void, EngineError, Scope.Scope> = Effect.gen(function* () {
  const inbox = new HostInbox()
  const socket = yield* FrameSocket.open(channelDescriptor, {
    onFrame: (frame) => inbox.push(frame),
    onClose: () => inbox.close()
  })
  const send: StageHostParts["send"] = (...messages) => void socket.send(...messages)
  const first = yield* inbox.first
  if (first === undefined) return
  const load = yield* decodeLoad(first)
  const opened = yield* Effect.either(StageOpening.open(load, (fraction) => send({ _tag: "Progress", fraction })))
  if (Either.isLeft(opened)) {
    const { detail, reason } = opened.left
    return send({ _tag: "Refused", reason, detail: detail.slice(0, detailCharactersMax) })
  }
  const { calibration, llama, loop } = opened.right
  send({ _tag: "Ready", width: llama.width, calibration })
  return yield* inbox.serve(make({ load, loop, send, now: () => performance.now() }))
})

/** Represents what the work of a stage's host is made with. */
export interface StageHostParts {
  readonly load: Pick<StageLoad, "activations">
  readonly loop: StageLoop
  /** Sends what is said in one turn, in one piece. */
  readonly send: (...messages: ReadonlyArray<StageEvent | Uint8Array>) => void
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number
}

/** Returns the work of a host whose stage is open: frames of the stage before in, frames and events out. */
export const make = (parts: StageHostParts): HostWork => new Serving(parts)

// internal

/** Most characters of a refusal: the bound of its schema. */
const detailCharactersMax = 1024

const broken = (detail: string) => new EngineError({ reason: "protocol_broken", detail })

const decodeStageLoad = PlainDecode.decoder(StageLoad)

const decodeLoad = (frame: unknown) =>
  Either.mapLeft(decodeStageLoad(frame), (issue) => broken(ParseResult.TreeFormatter.formatIssueSync(issue)))

/** The frames of a host, from the channel to the loop and back. */
class Serving implements HostWork {
  #taken = 0

  constructor(private readonly parts: StageHostParts) {}

  busy(): boolean {
    return !this.parts.loop.idle()
  }

  step(frames: ReadonlyArray<unknown>): EngineError | undefined {
    for (const frame of frames) {
      if (!(frame instanceof Uint8Array)) return broken("a second command")
      const wrong = this.#take(frame)
      if (wrong !== undefined) return wrong
    }
    const { load, loop, now, send } = this.parts
    const computes = loop.waiting() > 0
    if (!computes && loop.idle() && frames.length === 0) return undefined
    const startedMs = now()
    const given = loop.turn()
    const took = computes ? { decodeSeconds: (now() - startedMs) / 1000 } : {}
    // Others wait for these, nobody for what is said of them.
    if (given.length > 0) send(...given.map((frame) => StageFrame.encode(frame, load.activations)))
    send({ _tag: "Turn", taken: this.#taken, waiting: loop.waiting(), ...took })
    return undefined
  }

  /** Hands a frame to the loop. What another peer got wrong fails its job; what the supervisor did ends this host. */
  #take(bytes: Uint8Array): EngineError | undefined {
    this.#taken++
    const peeked = StageFrame.peek(bytes)
    if (Either.isLeft(peeked)) return broken(peeked.left.message)
    const frame = StageFrame.decode(bytes)
    if (Either.isLeft(frame)) {
      const { epoch, job } = peeked.right
      this.parts.send(StageFrame.encode({ kind: "failed", epoch, job, reason: frame.left.message }))
      return undefined
    }
    if (frame.right.kind === "tokens" || frame.right.kind === "failed") return broken(`a ${frame.right.kind} frame`)
    this.parts.loop.submit(frame.right)
    return undefined
  }
}
