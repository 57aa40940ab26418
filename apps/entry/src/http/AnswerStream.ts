/**
 * An answer as server-sent events. The pump takes what the peer sent, writes it as one piece and waits for more; one
 * clock for all streams sends comments into quiet ones and gives up on readers that take nothing. A client that leaves
 * ends its pump, which closes the answer's scope and so cancels it on the peer.
 */
import { HttpServerResponse } from "@effect/platform"
import type { GenerateEvent } from "@weft/engine/Generation"
import { Context, Duration, Effect, Exit, FiberId, FiberSet, Layer, Schedule, type Scope } from "effect"
import type { Answer } from "../Inference.ts"
import * as ByteBuffer from "../internal/ByteBuffer.ts"
import { type ApiError, answerTimeout, fromFailure, internalError, shuttingDown, toBody } from "../OpenAiError.ts"
import type { Account } from "./Account.ts"
import type { EventWriter } from "./AnswerFormat.ts"
import { HttpLimits } from "./HttpLimits.ts"

/** Represents an answer whose first events are there, or that has been quiet for one keep-alive period. */
export interface BegunAnswer {
  readonly answer: Answer
  /** Events that came before the headers. */
  readonly first: ReadonlyArray<GenerateEvent>
  readonly model: string
  readonly account: Account
  readonly events: EventWriter
  /** Cancels the answer; called once. */
  readonly release: (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<void>
}

/** Sends answers as streams. */
export class AnswerStream extends Context.Tag("@weft/entry/http/AnswerStream")<
  AnswerStream,
  {
    /** Returns the response, whose body goes on after it; takes the answer's scope over. */
    readonly respond: (begun: BegunAnswer) => Effect.Effect<HttpServerResponse.HttpServerResponse>
  }
>() {
  static readonly layer: Layer.Layer<AnswerStream> = Layer.scoped(
    AnswerStream,
    Effect.suspend(() => make)
  )
}

const make: Effect.Effect<Context.Tag.Service<AnswerStream>, never, Scope.Scope> = Effect.gen(function* () {
  const limits = yield* HttpLimits
  const pumps = yield* FiberSet.make<void>()
  const open = new Set<OpenStream>()
  // half a period: a stream is quiet for at most a whole one
  const tick = Duration.times(limits.keepAlive, 0.5)
  const stallTicksMax = Math.max(1, Math.ceil(Duration.toMillis(limits.streamStall) / Duration.toMillis(tick)))
  const ticksMax = Math.ceil(Duration.toMillis(limits.answerDeadline) / Duration.toMillis(tick))
  const beat = Effect.sync(() => {
    for (const stream of open) attend(stream, stallTicksMax, ticksMax)
  })
  yield* Effect.forkScoped(Effect.repeat(beat, Schedule.spaced(tick)))

  return AnswerStream.of({
    respond: (begun) =>
      Effect.gen(function* () {
        const stream = makeOpenStream(limits.streamBufferBytesMax)
        const fiber = yield* FiberSet.run(
          pumps,
          Effect.interruptible(pump(begun, stream)).pipe(
            Effect.onExit((exit) => close(begun, stream, exit)),
            Effect.ensuring(Effect.sync(() => open.delete(stream))),
            Effect.asVoid
          )
        )
        stream.interrupt = () => fiber.unsafeInterruptAsFork(FiberId.none)
        open.add(stream)
        return HttpServerResponse.raw(stream.buffer.stream, {
          headers: { "content-type": "text/event-stream", "cache-control": "no-cache", "x-accel-buffering": "no" }
        })
      })
  })
})

// internal

/** How a stream ended: whole, by its reader, or with an error that its reader is told. */
type Ending = "whole" | "left" | "slow" | ApiError

/** One stream as the clock sees it; changed in place by it and the pump. */
interface OpenStream {
  readonly buffer: ByteBuffer.ByteBuffer
  /** Stops the pump. */
  interrupt: () => void
  /** Why the pump was stopped. */
  stopped: Ending | undefined
  /** Whether nothing was written since the last tick. */
  quiet: boolean
  ticks: number
  /** Ticks in which the reader took nothing although bytes wait. */
  stalledTicks: number
  /** What waited at the last tick. */
  waitingBytes: number
}

const makeOpenStream = (bufferBytesMax: number): OpenStream => {
  const stream: OpenStream = {
    buffer: ByteBuffer.make(bufferBytesMax, () => stop(stream, "left")),
    interrupt: () => undefined,
    stopped: undefined,
    quiet: false,
    ticks: 0,
    stalledTicks: 0,
    waitingBytes: 0
  }
  return stream
}

const stop = (stream: OpenStream, ending: Ending): void => {
  stream.stopped ??= ending
  stream.interrupt()
}

/** A comment, which readers of events skip. */
const keepAliveComment = ": keep-alive\n\n"

const attend = (stream: OpenStream, stallTicksMax: number, ticksMax: number): void => {
  const waitingBytes = stream.buffer.waitingBytes()
  stream.stalledTicks = waitingBytes > 0 && waitingBytes >= stream.waitingBytes ? stream.stalledTicks + 1 : 0
  stream.waitingBytes = waitingBytes
  if (++stream.ticks > ticksMax) stop(stream, answerTimeout())
  else if (stream.stalledTicks >= stallTicksMax) stop(stream, "slow")
  else if (stream.quiet && waitingBytes === 0 && !stream.buffer.write(keepAliveComment)) stop(stream, "left")
  stream.quiet = true
}

/** Forwards events until the answer ended or its reader is too slow. */
const pump = (begun: BegunAnswer, stream: OpenStream): Effect.Effect<Ending> =>
  Effect.gen(function* () {
    let ending = forward(begun, stream, begun.first, begun.events.first)
    while (ending === undefined) {
      const [events, done] = yield* begun.answer.events.takeAll
      begun.account.note(events)
      ending = forward(begun, stream, events, "")
      // a mailbox that ends without a last event: its peer is lost
      if (done) return ending ?? fromFailure({ code: "engine_lost", message: "" }, begun.model)
    }
    return ending
  })

/** Writes a batch of events as one piece; returns how the stream ended where it did. */
const forward = (
  { events: writer, model }: BegunAnswer,
  stream: OpenStream,
  events: Iterable<GenerateEvent>,
  opening: string
): Ending | undefined => {
  let piece = opening
  let ending: Ending | undefined
  for (const event of events) {
    if (event._tag === "Delta" && event.text !== "") piece += writer.delta(event.text)
    else if (event._tag === "Finished") {
      piece += writer.last(event.finishReason, event.usage)
      ending = "whole"
    } else if (event._tag === "Failed") ending = fromFailure(event.failure, model)
  }
  if (piece === "") return ending
  stream.quiet = false
  return stream.buffer.write(piece) ? ending : "slow"
}

/** Ends the body as the stream ended, cancels the answer and closes its account. */
const close = (begun: BegunAnswer, stream: OpenStream, exit: Exit.Exit<Ending>): Effect.Effect<void> =>
  Effect.gen(function* () {
    const ending = Exit.match(exit, {
      onSuccess: (ending) => ending,
      onFailure: () => stream.stopped ?? (Exit.isInterrupted(exit) ? shuttingDown() : internalError())
    })
    if (ending === "slow") stream.buffer.abort()
    else {
      if (typeof ending === "object") stream.buffer.write(`data: ${toBody(ending)}\n\n`)
      stream.buffer.end()
    }
    yield* begun.release(exit)
    yield* begun.account.close(ending === "whole" ? 200 : typeof ending === "object" ? ending.status : 499)
    if (Exit.isFailure(exit) && !Exit.isInterrupted(exit)) yield* Effect.logError("a stream broke", exit.cause)
  })
