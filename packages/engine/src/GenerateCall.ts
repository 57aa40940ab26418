/**
 * The entry's end of one answer: asks with one frame on a stream that no other answer uses meanwhile, and takes the
 * peer's `GenerateEvent` frames, which are checked here before anyone sees them. Plain calls from the stream to the
 * listener: no fiber, no timer and no queue stand on the way of a token.
 */
import * as Frames from "@weft/mesh/Frames"
import * as Link from "@weft/mesh/Link"
import type { SessionError, StreamError } from "@weft/mesh/MeshError"
import type { MeshStream, StreamListener } from "@weft/mesh/Transport"
import { Either } from "effect"
import { AnswerJudge, AnswerMalformed } from "./AnswerJudge.ts"
import type { AnswerListener, CancelAnswer } from "./Engine.ts"
import { GenerateEvent, type GenerateRequest, isLast, type LastEvent } from "./Generation.ts"
import { IdleStreams } from "./IdleStreams.ts"
import { withdrawal } from "./Withdrawal.ts"

/** An event is a turn's text of one sequence: a few tokens. */
const eventBytesMax = 256 * 1024
/** A peer ends a cancelled answer within a round trip; one that does not loses the stream. */
const farewellMsMax = 3_000
/** A peer begins at once, unless it must first load the model anew; one that never does must not hold its client. */
const beginMsMax = 120_000

/**
 * Asks the peer at the other end of `link` and tells `listen` its checked events. A lost session or stream and an
 * answer that breaks the rules are a `Failed` with `engine_lost`. Returns what cancels the answer on the peer.
 */
export const ask = (link: Link.Link, request: GenerateRequest, listen: AnswerListener): CancelAnswer => {
  const idle = IdleStreams.of(link.session)
  const call = new Call(request, listen, idle)
  const stream = idle.take()
  if (stream === undefined) Link.unsafeOpen(link, "generate", Frames.frame(request), call)
  else {
    stream.unsafeWrite(Frames.frame(request))
    call.opened(stream)
  }
  return () => call.cancel()
}

// internal

const decodeEvent = Frames.decode(GenerateEvent)

class Call implements StreamListener, Link.Opening {
  readonly #listen: AnswerListener
  readonly #judge: AnswerJudge
  readonly #feed = new Frames.FrameFeed(eventBytesMax)
  readonly #idle: IdleStreams
  #stream: MeshStream | undefined
  /** The last event was told, or nobody listens any more: then the stream is read on to its last event, to be free. */
  #isOver = false
  /** When the wait for the start, or for the end of a cancelled answer, was first looked at. */
  #waitsSinceMs: number | undefined

  constructor(request: GenerateRequest, listen: AnswerListener, idle: IdleStreams) {
    this.#listen = listen
    this.#idle = idle
    this.#judge = new AnswerJudge(request)
  }

  opened(stream: MeshStream): void {
    this.#stream = stream
    if (this.#isOver) stream.unsafeReset(Link.ResetCode.cancelled)
    else stream.unsafeListen(this)
  }

  refused(error: SessionError): void {
    this.#end([], error.reason === "TooManyStreams" ? overloaded : lost(error.message))
  }

  cancel(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#waitsSinceMs = undefined
    this.#stream?.unsafeWrite(withdrawal)
  }

  data(bytes: Uint8Array): void {
    this.#feed.push(bytes)
    const events: Array<GenerateEvent> = []
    for (let next = this.#next(); next !== undefined; next = this.#next()) {
      if (Either.isLeft(next)) return void this.#malformed(events, next.left)
      if (isLast(next.right)) return void this.#finished(events, next.right)
      events.push(next.right)
    }
    if (events.length > 0 && !this.#isOver) this.#listen(events)
  }

  ended(): void {
    if (this.#isOver) return
    this.#malformed([], this.#feed.ended() ?? new AnswerMalformed({ detail: "it ended before it was finished" }))
  }

  closed(): void {}

  failed(error: StreamError): void {
    this.#end([], lost(error.message))
  }

  tick(nowMs: number): void {
    const slow = this.#feed.tick(nowMs)
    this.#waitsSinceMs ??= nowMs
    const waitsMs = nowMs - this.#waitsSinceMs
    if (slow !== undefined) this.#malformed([], slow)
    else if (this.#isOver && waitsMs > farewellMsMax) this.#stream?.unsafeReset(Link.ResetCode.cancelled)
    else if (!this.#judge.hasStarted && waitsMs > beginMsMax) {
      this.#malformed([], new AnswerMalformed({ detail: "it did not begin in time" }))
    }
  }

  /** Takes the next event; undefined while it is not whole. */
  #next(): Either.Either<GenerateEvent, Error> | undefined {
    const payload = this.#feed.next()
    if (payload === undefined) return undefined
    if (!(payload instanceof Uint8Array)) return Either.left(payload)
    const event = decodeEvent(payload)
    const wrong = Either.isRight(event) ? this.#judge.judge(event.right) : undefined
    return wrong === undefined ? event : Either.left(wrong)
  }

  /** The stream is free for the next answer, unless this one failed, or something stands behind its last event. */
  #finished(before: ReadonlyArray<GenerateEvent>, last: LastEvent): void {
    const stream = this.#stream
    const isWhole = this.#feed.ended() === undefined
    const isFree = isWhole && (last._tag === "Finished" || last.failure.code === "cancelled")
    if (stream !== undefined && isFree) this.#idle.keep(stream)
    this.#waitsSinceMs = undefined
    this.#end(before, last)
    if (!isWhole) stream?.unsafeReset(Link.ResetCode.malformed)
    else if (!isFree) stream?.unsafeEnd()
  }

  #malformed(before: ReadonlyArray<GenerateEvent>, { message }: Error): void {
    this.#end(before, lost(message))
    this.#stream?.unsafeReset(Link.ResetCode.malformed)
  }

  #end(before: ReadonlyArray<GenerateEvent>, last: GenerateEvent): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#listen([...before, last])
  }
}

const overloaded: GenerateEvent = {
  _tag: "Failed",
  failure: { code: "overloaded", message: "the link to this peer has no room for one more answer now" }
}

const lost = (message: string): GenerateEvent => ({
  _tag: "Failed",
  failure: { code: "engine_lost", message: message.slice(0, 1024) }
})
