/**
 * An answer as server-sent events: what the peer sent together is written as one piece, at once. Headers wait for the
 * first text, or for one keep-alive period at most, so that an answer which fails before has the right status. Quiet
 * streams get comments; a reader that takes nothing is given up.
 */
import type { GenerateEvent } from "@weft/engine/Generation"
import * as ByteBuffer from "../internal/ByteBuffer.ts"
import { fromFailure, shuttingDown, toBody } from "../OpenAiError.ts"
import type { EventWriter } from "./AnswerFormat.ts"
import type { Ending, Reply, Respond } from "./Reply.ts"

/** Represents the bounds of one stream. */
export interface StreamLimits {
  /** Most bytes that wait for a slow reader. */
  readonly bufferBytesMax: number
  /** Ticks in which a reader takes nothing although bytes wait. */
  readonly stallTicksMax: number
}

/** Streams one answer. */
export class AnswerStream implements Reply {
  readonly #respond: Respond
  readonly #writer: EventWriter
  readonly #model: string
  readonly #limits: StreamLimits
  readonly #onLeft: () => void
  /** There from the headers on. */
  #buffer: ByteBuffer.ByteBuffer | undefined
  /** Whether nothing was written since the last tick. */
  #isQuiet = false
  #stalledTicks = 0
  /** What waited at the last tick. */
  #waitingBytes = 0

  /** `onLeft` runs once when the reader leaves a body before its end. */
  constructor(respond: Respond, writer: EventWriter, model: string, limits: StreamLimits, onLeft: () => void) {
    this.#respond = respond
    this.#writer = writer
    this.#model = model
    this.#limits = limits
    this.#onLeft = onLeft
  }

  events(events: ReadonlyArray<GenerateEvent>): Ending | undefined {
    let piece = ""
    let ending: Ending | undefined
    for (const event of events) {
      if (event._tag === "Delta" && event.text !== "") piece += this.#writer.delta(event.text)
      else if (event._tag === "Finished") {
        piece += this.#writer.last(event.finishReason, event.usage)
        ending = "whole"
      } else if (event._tag === "Failed") ending = fromFailure(event.failure, this.#model)
    }
    // an error before the headers is told by its status, whatever text came with it
    if (piece === "" || (typeof ending === "object" && this.#buffer === undefined)) return ending
    return this.#write(piece) ? ending : "slow"
  }

  tick(): Ending | undefined {
    const waitingBytes = this.#buffer?.waitingBytes() ?? 0
    this.#stalledTicks = waitingBytes > 0 && waitingBytes >= this.#waitingBytes ? this.#stalledTicks + 1 : 0
    this.#waitingBytes = waitingBytes
    if (this.#stalledTicks >= this.#limits.stallTicksMax) return "slow"
    if (this.#isQuiet && waitingBytes === 0 && !this.#write(keepAliveComment)) return "left"
    this.#isQuiet = true
    return undefined
  }

  end(ending: Ending): void {
    const error = typeof ending === "object" ? ending : undefined
    if (this.#buffer === undefined) this.#respond.fail(error ?? shuttingDown())
    else if (ending === "slow") this.#buffer.abort()
    else {
      if (error !== undefined) this.#buffer.write(`data: ${toBody(error)}\n\n`)
      this.#buffer.end()
    }
  }

  /** Writes text, behind the headers; false when too much would wait. */
  #write(piece: string): boolean {
    this.#isQuiet = false
    if (this.#buffer !== undefined) return this.#buffer.write(piece)
    this.#buffer = ByteBuffer.make(this.#limits.bufferBytesMax, this.#onLeft)
    this.#respond.send(200, headersOfStreams, this.#buffer.stream)
    return this.#buffer.write(this.#writer.first + piece)
  }
}

// internal

/** The last one keeps nginx from collecting the stream. */
const headersOfStreams = {
  "content-type": "text/event-stream",
  "cache-control": "no-cache",
  "x-accel-buffering": "no"
}

/** A comment, which readers of events skip. */
const keepAliveComment = ": keep-alive\n\n"
