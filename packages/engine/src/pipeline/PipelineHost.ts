/**
 * The host of a pipeline: the process of its first stage, which drives the answers of all stages. Commands and the
 * frames of later stages come from the engine over descriptor 3, events and the frames for the next stage go back the
 * same way. Between turns the host looks for more; without work it waits and uses no processor time. A draft model, if
 * there is one, computes behind the turns.
 */
import * as PlainDecode from "@weft/mesh/PlainDecode"
import { Effect, Either, Option, ParseResult, type Scope } from "effect"
import { EngineError } from "../EngineError.ts"
import { channelDescriptor } from "../EngineHost.ts"
import { HostInbox, type HostWork } from "../HostInbox.ts"
import * as IncomingRequests from "../IncomingRequests.ts"
import * as FrameSocket from "../internal/FrameSocket.ts"
import type { LlamaText } from "../internal/llama/LlamaText.ts"
import type { DraftModel } from "./DraftModel.ts"
import * as DraftOpening from "./DraftOpening.ts"
import { PipelineCommand, type PipelineEvent, type PipelineLoad } from "./PipelineHostProtocol.ts"
import * as PipelineJobs from "./PipelineJobs.ts"
import * as StageFrame from "./StageFrame.ts"
import type { StageLoop } from "./StageLoop.ts"
import * as StageOpening from "./StageOpening.ts"

/** Runs the host until the engine closes the channel; fails where it says what no engine says, or llama.cpp fails. */
export const run: Effect.Effect<void, EngineError, Scope.Scope> = Effect.gen(function* () {
  const inbox = new HostInbox()
  const socket = yield* FrameSocket.open(channelDescriptor, {
    onFrame: (frame) => inbox.push(frame),
    onClose: () => inbox.close()
  })
  const send: PipelineHostParts["send"] = (...messages) => void socket.send(...messages)
  const first = yield* inbox.first
  if (first === undefined) return
  const load = yield* decodeCommand(first)
  if (load._tag !== "Load") return yield* broken(`the first command is ${load._tag}`)
  const opened = yield* Effect.either(StageOpening.open(load, (fraction) => send({ _tag: "Progress", fraction })))
  if (Either.isLeft(opened)) {
    const { detail, reason } = opened.left
    return send({ _tag: "Refused", reason, detail: detail.slice(0, detailCharactersMax) })
  }
  const { calibration, llama, loop } = opened.right
  if (llama.text === undefined) return yield* broken("the stage is not the first one")
  const draft = yield* Effect.either(openDraft(load, llama.text.vocabularyTokens))
  const draftFault = Either.isLeft(draft) ? { draftFault: draft.left.detail.slice(0, detailCharactersMax) } : {}
  send({ _tag: "Ready", width: llama.width, calibration, ...draftFault })
  const model = Option.getOrUndefined(Option.flatten(Either.getRight(draft)))
  return yield* inbox.serve(make({ load, loop, text: llama.text, model, send, now: () => performance.now() }))
})

/** Represents what the work of a pipeline's host is made with. */
export interface PipelineHostParts {
  readonly load: PipelineLoad
  /** The first stage's. */
  readonly loop: StageLoop
  readonly text: LlamaText
  /** Guesses too; none where there is none. */
  readonly model?: DraftModel | undefined
  /** Sends messages in one piece. */
  readonly send: (...messages: ReadonlyArray<PipelineEvent | Uint8Array>) => void
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number
}

/** Returns the work of a host whose stage is open: commands and later stages' frames in, frames and events out. */
export const make = (parts: PipelineHostParts): HostWork => new Serving(parts)

// internal

/** Most characters of a refusal: the bound of its schema. */
const detailCharactersMax = 1024

const broken = (detail: string) => new EngineError({ reason: "protocol_broken", detail })

const decodePipelineCommand = PlainDecode.decoder(PipelineCommand)

const decodeCommand = (frame: unknown) =>
  Either.mapLeft(decodePipelineCommand(frame), (issue) => broken(ParseResult.TreeFormatter.formatIssueSync(issue)))

/** Returns the draft model where one is wished and guessing is; a pipeline goes without one that cannot be opened. */
const openDraft = (load: PipelineLoad, vocabularyTokens: number) =>
  load.draft === undefined || !load.speculates
    ? Effect.succeedNone
    : Effect.asSome(DraftOpening.open(load, load.draft, vocabularyTokens))

/** What the engine sends, on its way to the jobs, and what they give on its way back. */
class Serving implements HostWork {
  readonly #incoming: IncomingRequests.IncomingRequests
  readonly #jobs: PipelineJobs.PipelineJobs
  #cancelled: Array<number> = []

  constructor(private readonly parts: PipelineHostParts) {
    const { load, loop, model, now, text } = parts
    this.#incoming = IncomingRequests.make(text, load.contextTokens)
    const guessing = { speculates: load.speculates, model }
    this.#jobs = PipelineJobs.make({ ...load, loop, text, guessing, now })
  }

  busy(): boolean {
    return !this.#incoming.isEmpty() || !this.#jobs.idle()
  }

  step(frames: ReadonlyArray<unknown>): EngineError | undefined {
    const { load, send } = this.parts
    let look: Extract<PipelineCommand, { readonly _tag: "Look" }> | undefined
    for (const frame of frames) {
      const command = frame instanceof Uint8Array ? this.#receive(frame) : decodeCommand(frame)
      if (command !== undefined && Either.isLeft(command)) return command.left
      const wrong = command === undefined ? undefined : this.#follow(command.right)
      if (wrong !== undefined) return wrong
      if (command?.right._tag === "Look") look = command.right
    }
    const refused = this.#incoming.prepareSome((key, prepared) => this.#jobs.submit(key, prepared))
    if (look !== undefined) this.#jobs.look(look.isWorking)
    const turn = this.#jobs.turn()
    // The next stage waits for these: they go before anything is said of them.
    if (turn.frames.length > 0) send(...turn.frames.map((frame) => StageFrame.encode(frame, load.activations)))
    const said = this.#events(turn, refused)
    if (said.length > 0) send(...said)
    if (look !== undefined) send({ _tag: "Seen", stats: this.#jobs.stats() })
    // What there is to send is on its way.
    this.#jobs.guess()
    return undefined
  }

  /** Takes a frame of a later stage, which the engine has checked. */
  #receive(bytes: Uint8Array): Either.Either<never, EngineError> | undefined {
    const frame = StageFrame.decode(bytes)
    if (Either.isLeft(frame)) return Either.left(broken(frame.left.message))
    const { kind } = frame.right
    if (frame.right.kind !== "tokens" && frame.right.kind !== "failed") return Either.left(broken(`a ${kind} frame`))
    this.#jobs.receive(frame.right)
    return undefined
  }

  #follow(command: PipelineCommand): EngineError | undefined {
    switch (command._tag) {
      case "Load":
        return broken("a second Load")
      case "Generate":
        this.#incoming.add(command.key, command.request)
        return undefined
      case "Cancel":
        this.#incoming.drop(command.key)
        this.#jobs.cancel(command.key)
        this.#cancelled.push(command.key)
        return undefined
      case "Connect":
        this.#jobs.connect(command.epoch)
        return undefined
      case "Disconnect":
        this.#jobs.disconnect()
        return undefined
      case "Look":
        return undefined
    }
  }

  #events(turn: PipelineJobs.PipelineTurn, refused: PipelineJobs.PipelineTurn["events"]): ReadonlyArray<PipelineEvent> {
    const faults = turn.faults.map((fault) => ({ _tag: "Fault", ...fault }) as const)
    const { decodeSeconds } = turn
    const cancelled = this.#cancelled
    const events = refused.length > 0 ? [...refused, ...turn.events] : turn.events
    this.#cancelled = []
    if (cancelled.length === 0 && events.length === 0 && decodeSeconds === undefined) return faults
    return [...faults, { _tag: "Turn", cancelled, events, ...(decodeSeconds === undefined ? {} : { decodeSeconds }) }]
  }
}
