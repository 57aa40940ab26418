/**
 * The peer's end of a stream of answers: reads a request, has an engine answer it, sends the events as they come, and
 * waits for the next request. A withdrawal or a reset cancels the answer. Plain calls, as at the other end.
 */
import { concat } from "@weft/mesh/FrameBuffer"
import * as Frames from "@weft/mesh/Frames"
import * as Link from "@weft/mesh/Link"
import type { MeshStream, StreamListener } from "@weft/mesh/Transport"
import { Either } from "effect"
import type { CancelAnswer, Engine } from "./Engine.ts"
import { type GenerateEvent, type GenerateFailure, GenerateRequest, isLast, type LastEvent } from "./Generation.ts"
import { isWithdrawal } from "./Withdrawal.ts"

/** A request carries up to 4 Mi characters of prompt, at most 4 bytes each, and some numbers. */
const requestBytesMax = 17 * 1024 * 1024
/** Most bytes of an answer that wait for the entry to read: it reads at once, so more is a line that is gone. */
const waitingBytesMax = 1024 * 1024

/** Represents how an answer on a peer came out, for its counters. */
export type Outcome = "finished" | "failed" | "cancelled"

/** Represents a request that was taken: who answers it, or why nobody does. */
export interface Taken {
  readonly engine: Either.Either<Engine, GenerateFailure>
  /** Told once, when everything is sent or nobody listens any more. */
  readonly done: (outcome: Outcome) => void
}

/**
 * Answers the requests on `stream`, one after another, as `take` says. The engine's slot is free as soon as the request
 * is taken back, or the stream reset or lost.
 */
export const serve = (stream: MeshStream, take: (request: GenerateRequest) => Taken): void =>
  stream.unsafeListen(new Replying(stream, take))

// internal

const decodeRequest = Frames.decode(GenerateRequest)
const nothing = new Uint8Array(0)

const outcomeOf = (last: LastEvent): Outcome =>
  last._tag === "Finished" ? "finished" : last.failure.code === "cancelled" ? "cancelled" : "failed"

/** The answer under way. */
interface Answer {
  readonly done: (outcome: Outcome) => void
  cancel: CancelAnswer | undefined
  /** How it came out; known with the last event, told when that is sent. */
  outcome: Outcome | undefined
}

class Replying implements StreamListener {
  readonly #feed = new Frames.FrameFeed(requestBytesMax)
  readonly #stream: MeshStream
  readonly #taken: (request: GenerateRequest) => Taken
  #answer: Answer | undefined
  /** The entry ended its direction: no request follows this one. */
  #isLast = false

  constructor(stream: MeshStream, take: (request: GenerateRequest) => Taken) {
    this.#stream = stream
    this.#taken = take
  }

  data(bytes: Uint8Array): void {
    // The entry has read the last event before it sends the next request: what waited is sent.
    this.#settle()
    this.#feed.push(bytes)
    for (let payload = this.#feed.next(); payload !== undefined; payload = this.#feed.next()) {
      const isTaken = payload instanceof Uint8Array && this.#take(payload)
      if (!isTaken) return void this.#stream.unsafeReset(Link.ResetCode.malformed)
    }
  }

  ended(): void {
    this.#isLast = true
    if (this.#feed.ended() !== undefined) this.#stream.unsafeReset(Link.ResetCode.malformed)
    else if (this.#answer === undefined) this.#stream.unsafeEnd()
  }

  closed(): void {}

  failed(): void {
    this.#answer?.cancel?.()
    this.#answer?.done(this.#answer.outcome ?? "cancelled")
    this.#answer = undefined
  }

  tick(nowMs: number): void {
    this.#settle()
    if (this.#feed.tick(nowMs) !== undefined) this.#stream.unsafeReset(Link.ResetCode.malformed)
  }

  /** Takes one frame; false where it is none that may come now. */
  #take(payload: Uint8Array): boolean {
    if (isWithdrawal(payload)) {
      this.#withdraw()
      return true
    }
    const request = this.#answer === undefined ? Either.getOrUndefined(decodeRequest(payload)) : undefined
    if (request !== undefined) this.#begin(request)
    return request !== undefined
  }

  #withdraw(): void {
    const answer = this.#answer
    if (answer === undefined || answer.outcome !== undefined) return
    answer.cancel?.()
    this.#send(answer, [{ _tag: "Failed", failure: { code: "cancelled", message: "the request was taken back" } }])
  }

  #begin(request: GenerateRequest): void {
    const { done, engine } = this.#taken(request)
    const answer: Answer = { done, cancel: undefined, outcome: undefined }
    this.#answer = answer
    if (Either.isLeft(engine)) this.#send(answer, [{ _tag: "Failed", failure: engine.left }])
    else {
      const cancel = engine.right.generate(request, (events) => this.#send(answer, events))
      if (answer.outcome === undefined) answer.cancel = cancel
    }
  }

  /** Sends events of the answer under way; of one that has ended nothing may stand in the next one's place. */
  #send(answer: Answer, events: ReadonlyArray<GenerateEvent>): void {
    if (this.#answer !== answer || answer.outcome !== undefined) return
    const waitingBytes = this.#stream.unsafeWrite(concat(events.map(Frames.frame)))
    const last = events.at(-1)
    if (last !== undefined && isLast(last)) {
      answer.cancel = undefined
      answer.outcome = outcomeOf(last)
      this.#settle()
    } else if (waitingBytes > waitingBytesMax) this.#stream.unsafeReset(Link.ResetCode.overrun)
  }

  /** Tells how the answer came out once all of it was handed to the layer. */
  #settle(): void {
    const outcome = this.#answer?.outcome
    if (outcome === undefined || this.#stream.unsafeWrite(nothing) > 0) return
    this.#answer?.done(outcome)
    this.#answer = undefined
    if (this.#isLast) this.#stream.unsafeEnd()
  }
}
