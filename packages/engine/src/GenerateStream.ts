/**
 * One answer over one mesh stream: the entry asks with one frame, the peer answers with `GenerateEvent` frames and
 * ends its direction. Whoever resets the stream cancels the answer. What a peer sends is checked here before anyone
 * sees it.
 */
import * as Frames from "@weft/mesh/Frames"
import * as Link from "@weft/mesh/Link"
import type { SessionError, StreamError } from "@weft/mesh/MeshError"
import type { MeshStream } from "@weft/mesh/Transport"
import { Chunk, Data, Deferred, Effect, Mailbox, Option, type Scope } from "effect"
import type { Engine } from "./Engine.ts"
import { GenerateEvent, type GenerateFailure, GenerateRequest } from "./Generation.ts"

/** Events that wait for a slow reader before the stream's credit holds the peer. */
const eventsWaitingMax = 256
/** A request carries up to 4 Mi characters of prompt, at most 4 bytes each, and some numbers. */
const requestBytesMax = 17 * 1024 * 1024
/** An event is a turn's text of one sequence: a few tokens. */
const eventBytesMax = 256 * 1024
/** A request is sent whole when it begins; on 1 Mbit/s this lets 2 MB through. */
const requestDeadline = "20 seconds"

/** The entry reads on until the last event; after this a lost end is nobody's loss. */
const farewellDeadline = "5 seconds"

/** Represents a peer that broke the order or the bounds of an answer. */
export class AnswerMalformed extends Data.TaggedError("AnswerMalformed")<{ readonly detail: string }> {
  override get message(): string {
    return `the peer's answer is malformed: ${this.detail}`
  }
}

/** Represents an answer as it comes from a peer. */
export interface Asked {
  /** Ends after `Finished` or `Failed`; a lost stream and a malformed answer become `Failed` with `engine_lost`. */
  readonly events: Mailbox.ReadonlyMailbox<GenerateEvent>
  /** Waits for the first event, which stays in `events`: a `Failed` may be asked of another peer instead. */
  readonly first: Effect.Effect<GenerateEvent>
}

/** Asks the peer at the other end of `link`. Closing the scope cancels the answer on the peer. */
export const ask = Effect.fnUntraced(function* (
  link: Link.Link,
  request: GenerateRequest
): Effect.fn.Return<Asked, SessionError | StreamError, Scope.Scope> {
  const stream = yield* Link.open(link, "generate", encodeRequest(request))
  yield* stream.end
  const events = yield* Mailbox.make<GenerateEvent>({ capacity: eventsWaitingMax })
  const first = yield* Deferred.make<GenerateEvent>()
  const deliver = (event: GenerateEvent) => {
    Deferred.unsafeDone(first, Effect.succeed(event))
    return events.offer(event)
  }
  yield* Effect.forkScoped(Effect.zipRight(receive(stream, request, deliver), events.end))
  return { events, first: Deferred.await(first) }
})

/** Represents how an answer on a peer came out, for its counters. */
export type Outcome = "finished" | "failed" | "cancelled"

/**
 * Answers one request on a peer: reads it, has the engine that `find` gives answer it, and sends the events as they
 * come. The engine's slot is free as soon as the stream is reset or lost, read or not.
 */
export const answer = Effect.fnUntraced(function* (
  { frames, stream }: Link.Incoming,
  find: (request: GenerateRequest) => Effect.Effect<Engine, GenerateFailure>
) {
  const sending = Effect.gen(function* () {
    const request = Option.getOrUndefined(
      yield* Effect.timeout(frames.read(GenerateRequest, requestBytesMax), requestDeadline)
    )
    if (request === undefined) return "cancelled" as const
    const outcome = yield* Effect.matchEffect(find(request), {
      onFailure: (failure) => Effect.as(stream.write(encodeEvent({ _tag: "Failed", failure })), "failed" as const),
      onSuccess: (engine) => Effect.flatMap(engine.generate(request), (events) => forward(events, stream))
    })
    yield* stream.end
    // Whoever reset the stream now would cut what is still on its way.
    yield* Effect.timeoutOption(stream.closed, farewellDeadline)
    return outcome
  })
  const cut = Effect.zipRight(stream.closed, Effect.never)
  return yield* Effect.raceFirst(sending, cut).pipe(
    Effect.scoped,
    Effect.catchTag("FrameError", () => Effect.as(stream.reset(Link.ResetCode.malformed), "cancelled" as const)),
    Effect.catchAll(() => Effect.succeed<Outcome>("cancelled"))
  )
})

// internal

const encodeRequest = Frames.encode(GenerateRequest)
const encodeEvent = Frames.encode(GenerateEvent)

/** Sends the events until the last; those that wait together leave in one write. */
const forward = Effect.fnUntraced(function* (
  events: Mailbox.ReadonlyMailbox<GenerateEvent>,
  stream: MeshStream
): Effect.fn.Return<Outcome, StreamError> {
  let outcome: Outcome = "failed"
  while (true) {
    const [batch, done] = yield* events.takeAll
    if (Chunk.isNonEmpty(batch)) {
      yield* stream.write(Frames.concat(Chunk.toReadonlyArray(batch).map((event) => encodeEvent(event))))
      const last = Chunk.lastNonEmpty(batch)
      if (last._tag === "Finished") outcome = "finished"
    }
    if (done) return outcome
  }
})

const lost = (message: string): GenerateEvent => ({
  _tag: "Failed",
  failure: { code: "engine_lost", message: message.slice(0, 1024) }
})

/** Delivers the checked events of the stream, up to and including the last one; never fails. */
const receive = (
  stream: MeshStream,
  request: GenerateRequest,
  deliver: (event: GenerateEvent) => Effect.Effect<unknown>
) =>
  Effect.gen(function* () {
    const frames = Frames.reader(stream)
    const judge = makeJudge(request)
    while (true) {
      const event = Option.getOrUndefined(yield* frames.read(GenerateEvent, eventBytesMax))
      if (event === undefined) return yield* new AnswerMalformed({ detail: "it ended before it was finished" })
      yield* judge(event)
      yield* deliver(event)
      if (event._tag === "Finished" || event._tag === "Failed") return
    }
  }).pipe(
    Effect.tapErrorTag("AnswerMalformed", () => stream.reset(Link.ResetCode.malformed)),
    Effect.catchAll((error) => deliver(lost(error.message)))
  )

/**
 * Returns a check of one answer's events in their order: `Started` first and once, never more tokens than were asked
 * for, and a count at the end that is the number of tokens that came, those of a resumed answer's beginning included.
 */
const makeJudge = (request: GenerateRequest) => {
  let started = false
  /** Those that came from elsewhere are in no event, and count. */
  let tokens = request.resume?.tokens.length ?? 0
  const wrong = (detail: string) => new AnswerMalformed({ detail })
  return (event: GenerateEvent): Effect.Effect<void, AnswerMalformed> => {
    switch (event._tag) {
      case "Started":
        if (started) return wrong("it started twice")
        started = true
        return Effect.void
      case "Delta":
        tokens += event.tokens.length
        if (!started) return wrong("text came before the start")
        return tokens > (request.maxTokens ?? Number.POSITIVE_INFINITY)
          ? wrong("more tokens than asked for")
          : Effect.void
      case "Finished":
        if (!started) return wrong("it finished before it started")
        return event.usage.completionTokens === tokens
          ? Effect.void
          : wrong(`it counts ${event.usage.completionTokens} tokens, ${tokens} came`)
      case "Failed":
        return Effect.void
    }
  }
}
