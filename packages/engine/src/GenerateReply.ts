/**
 * The peer's end of one answer: reads the request off a stream that the entry opened, has an engine answer it, and
 * sends the events as they come. Whoever resets the stream cancels the answer. Plain calls, as at the other end.
 */
import { concat } from "@weft/mesh/FrameBuffer"
import * as Frames from "@weft/mesh/Frames"
import * as Link from "@weft/mesh/Link"
import type { MeshStream, StreamListener } from "@weft/mesh/Transport"
import { Either } from "effect"
import type { CancelAnswer, Engine } from "./Engine.ts"
import { type GenerateEvent, type GenerateFailure, GenerateRequest, isLast } from "./Generation.ts"

/** A request carries up to 4 Mi characters of prompt, at most 4 bytes each, and some numbers. */
const requestBytesMax = 17 * 1024 * 1024
/** A request is sent whole when it begins; on 1 Mbit/s this lets 2 MB through. */
const requestMsMax = 20_000
/** Most bytes of an answer that wait for the entry to read: it reads at once, so more is a line that is gone. */
const waitingBytesMax = 1024 * 1024

/** Represents how an answer on a peer came out, for its counters. */
export type Outcome = "finished" | "failed" | "cancelled"

/** Finds the engine for a request, or says why there is none. */
export type FindEngine = (request: GenerateRequest) => Either.Either<Engine, GenerateFailure>

/**
 * Answers the request on `stream` and tells `done` once how that came out, when everything is sent. The engine's slot
 * is free as soon as the stream is reset or lost.
 */
export const answer = (stream: MeshStream, find: FindEngine, done: (outcome: Outcome) => void): void =>
  stream.unsafeListen(new Answering(stream, find, done))

// internal

const decodeRequest = Frames.decode(GenerateRequest)

class Answering implements StreamListener {
  readonly #feed = new Frames.FrameFeed(requestBytesMax)
  readonly #stream: MeshStream
  readonly #find: FindEngine
  readonly #done: (outcome: Outcome) => void
  #hasRequest = false
  #cancel: CancelAnswer | undefined
  /** How it came out; known with the last event, told with the stream's end. */
  #outcome: Outcome | undefined
  #sinceMs: number | undefined

  constructor(stream: MeshStream, find: FindEngine, done: (outcome: Outcome) => void) {
    this.#stream = stream
    this.#find = find
    this.#done = done
  }

  data(bytes: Uint8Array): void {
    this.#feed.push(bytes)
    const payload = this.#feed.next()
    if (payload === undefined) return
    const request = payload instanceof Uint8Array ? Either.getOrUndefined(decodeRequest(payload)) : undefined
    // Behind its request the entry has nothing to say.
    if (this.#hasRequest || request === undefined || this.#feed.ended() !== undefined) {
      this.#stream.unsafeReset(Link.ResetCode.malformed)
    } else {
      this.#hasRequest = true
      this.#begin(request)
    }
  }

  ended(): void {
    if (!this.#hasRequest) this.#stream.unsafeReset(Link.ResetCode.malformed)
  }

  closed(): void {
    this.#done(this.#outcome ?? "cancelled")
  }

  failed(): void {
    this.#cancel?.()
    this.#done(this.#outcome ?? "cancelled")
  }

  tick(nowMs: number): void {
    // The request must come whole in time, and the end of its stream behind it.
    if (this.#hasRequest && this.#outcome === undefined) {
      this.#sinceMs = undefined
      return
    }
    this.#sinceMs ??= nowMs
    if (nowMs - this.#sinceMs > requestMsMax) this.#stream.unsafeReset(Link.ResetCode.malformed)
  }

  #begin(request: GenerateRequest): void {
    const engine = this.#find(request)
    if (Either.isLeft(engine)) this.#forward([{ _tag: "Failed", failure: engine.left }])
    else {
      const cancel = engine.right.generate(request, (events) => this.#forward(events))
      if (this.#outcome === undefined) this.#cancel = cancel
    }
  }

  #forward(events: ReadonlyArray<GenerateEvent>): void {
    const waitingBytes = this.#stream.unsafeWrite(concat(events.map(Frames.frame)))
    const last = events.at(-1)
    if (last !== undefined && isLast(last)) {
      this.#cancel = undefined
      this.#outcome = last._tag === "Finished" ? "finished" : "failed"
      this.#stream.unsafeEnd()
    } else if (waitingBytes > waitingBytesMax) this.#stream.unsafeReset(Link.ResetCode.overrun)
  }
}
