/**
 * An answer as server-sent events. The pump takes what the peer sent, writes it as one piece and waits for more; one
 * clock for all streams sends comments into quiet ones and gives up on readers that take nothing. A client that leaves
 * ends its pump, which closes the answer's scope and so cancels it on the peer.
 */
import { HttpServerResponse } from "@effect/platform"
import type { GenerateEvent } from "@weft/engine/Generation"
import { Context, Deferred, Duration, Effect, Exit, FiberId, FiberSet, Layer, Schedule, type Scope } from "effect"
import type { Answer } from "../Inference.ts"
import * as ByteBuffer from "../internal/ByteBuffer.ts"
import { type ApiError, answerTimeout, fromFailure, internalError, shuttingDown, toBody } from "../OpenAiError.ts"
import type { Account } from "./Account.ts"
import type { EventWriter } from "./AnswerFormat.ts"
import { HttpLimits } from "./HttpLimits.ts"

/** Represents an answer that is to be streamed. */
export interface StreamedAnswer<R> {
  /** Begins the answer in the scope of its stream. */
  readonly begin: Effect.Effect<Answer, ApiError, R | Scope.Scope>
  readonly model: string
  readonly account: Account
  readonly events: EventWriter
}

/** Sends answers as streams. */
export class AnswerStream extends Context.Tag("@weft/entry/http/AnswerStream")<
  AnswerStream,
  {
    /**
     * Returns the response once there is text, or after one keep-alive period; its body goes on by itself. Fails with
     * what went wrong before that.
     */
    readonly respond: <R>(
      answer: StreamedAnswer<R>
    ) => Effect.Effect<HttpServerResponse.HttpServerResponse, ApiError, Exclude<R, Scope.Scope>>
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
    respond: (answer) =>
      Effect.gen(function* () {
        const stream = makeOpenStream(limits.streamBufferBytesMax, answer.events.first)
        open.add(stream)
        const fiber = yield* FiberSet.run(
          pumps,
          Effect.interruptible(pump(answer, stream)).pipe(
            Effect.onExit((exit) => close(answer.account, stream, exit)),
            Effect.ensuring(Effect.sync(() => open.delete(stream))),
            Effect.asVoid
          )
        )
        stream.interrupt = () => fiber.unsafeInterruptAsFork(FiberId.none)
        yield* Effect.onInterrupt(Deferred.await(stream.headers), () => Effect.sync(() => stop(stream, "left")))
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
  /** Completes when the headers may go out; fails when there is nothing to send but an error. */
  readonly headers: Deferred.Deferred<void, ApiError>
  /** What goes in front of the first bytes. */
  readonly opening: string
  hasHeaders: boolean
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

const makeOpenStream = (bufferBytesMax: number, opening: string): OpenStream => {
  const stream: OpenStream = {
    buffer: ByteBuffer.make(bufferBytesMax, () => stop(stream, "left")),
    headers: Deferred.unsafeMake(FiberId.none),
    opening,
    hasHeaders: false,
    interrupt: () => undefined,
    stopped: undefined,
    quiet: false,
    ticks: 0,
    stalledTicks: 0,
    waitingBytes: 0
  }
  return stream
}

/** Sends bytes, after the headers; false when too many would wait. */
const send = (stream: OpenStream, piece: string): boolean => {
  stream.quiet = false
  if (stream.hasHeaders) return stream.buffer.write(piece)
  stream.hasHeaders = true
  Deferred.unsafeDone(stream.headers, Exit.void)
  return stream.buffer.write(stream.opening + piece)
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
  else if (stream.quiet && waitingBytes === 0 && !send(stream, keepAliveComment)) stop(stream, "left")
  stream.quiet = true
}

/** Begins the answer and forwards its events until it ended or its reader is too slow. */
const pump = <R>(
  answer: StreamedAnswer<R>,
  stream: OpenStream
): Effect.Effect<Ending, never, Exclude<R, Scope.Scope>> =>
  Effect.gen(function* () {
    const { events } = yield* answer.begin
    while (true) {
      const [batch, done] = yield* events.takeAll
      answer.account.note(batch)
      const ending = forward(answer, stream, batch)
      if (ending !== undefined) return ending
      // a mailbox that ends without a last event: its peer is lost
      if (done) return fromFailure({ code: "engine_lost", message: "" }, answer.model)
    }
  }).pipe(
    Effect.scoped,
    Effect.catchAll((error): Effect.Effect<Ending> => Effect.succeed(error))
  )

/** Writes a batch of events as one piece; returns how the stream ended where it did. */
const forward = (
  answer: Pick<StreamedAnswer<never>, "events" | "model">,
  stream: OpenStream,
  batch: Iterable<GenerateEvent>
): Ending | undefined => {
  let piece = ""
  let ending: Ending | undefined
  for (const event of batch) {
    if (event._tag === "Delta" && event.text !== "") piece += answer.events.delta(event.text)
    else if (event._tag === "Finished") {
      piece += answer.events.last(event.finishReason, event.usage)
      ending = "whole"
    } else if (event._tag === "Failed") ending = fromFailure(event.failure, answer.model)
  }
  // an error before the headers is told by its status, whatever text came with it
  if (piece === "" || (typeof ending === "object" && !stream.hasHeaders)) return ending
  return send(stream, piece) ? ending : "slow"
}

/** Ends the body as the stream ended and closes the answer's account. */
const close = (account: Account, stream: OpenStream, exit: Exit.Exit<Ending>): Effect.Effect<void> =>
  Effect.gen(function* () {
    const ending = Exit.match(exit, {
      onSuccess: (ending) => ending,
      onFailure: () => stream.stopped ?? (Exit.isInterrupted(exit) ? shuttingDown() : internalError())
    })
    const error = typeof ending === "object" ? ending : undefined
    if (!stream.hasHeaders) Deferred.unsafeDone(stream.headers, Exit.fail(error ?? shuttingDown()))
    else if (ending === "slow") stream.buffer.abort()
    else {
      if (error !== undefined) stream.buffer.write(`data: ${toBody(error)}\n\n`)
      stream.buffer.end()
    }
    yield* account.close(error?.status ?? (ending === "whole" ? 200 : 499))
    if (Exit.isFailure(exit) && !Exit.isInterrupted(exit)) yield* Effect.logError("a stream broke", exit.cause)
  })
