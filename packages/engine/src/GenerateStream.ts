/**
 * One answer over one mesh stream: the entry asks with one frame, the peer answers with `GenerateEvent` frames and
 * ends its direction. Whoever resets the stream cancels the answer. What a peer sends is checked here before anyone
 * sees it.
 */
import * as Frames from "@weft/mesh/Frames"
import * as Link from "@weft/mesh/Link"
import type { StreamError } from "@weft/mesh/MeshError"
import type { MeshStream } from "@weft/mesh/Transport"
import { Chunk, Data, Effect, type Mailbox, Option } from "effect"
import type { Engine } from "./Engine.ts"
import { GenerateEvent, type GenerateFailure, GenerateRequest, promptCharactersMax } from "./Generation.ts"

/** A request carries up to 4 Mi characters of prompt, at most 4 bytes each, and some numbers. */
const requestBytesMax = 17 * 1024 * 1024
/** An event is a turn's text of one sequence: a few tokens. */
const eventBytesMax = 256 * 1024
/** Most text of one answer: it could not be asked about again if it were longer than the longest prompt. */
const answerCharactersMax = promptCharactersMax
/** Most tokens where the request names no bound: the longest context that any model has today. */
const answerTokensMax = 1024 * 1024
/** A request is sent whole when it begins; on 1 Mbit/s this lets 2 MB through. */
const requestDeadline = "20 seconds"

/** A peer begins at once, unless it must first load the model anew; one that never does must not hold its client. */
const beginDeadline = "2 minutes"
/** The entry reads on until the last event; after this a lost end is nobody's loss. */
const farewellDeadline = "5 seconds"

/** Represents a peer that broke the order or the bounds of an answer. */
export class AnswerMalformed extends Data.TaggedError("AnswerMalformed")<{ readonly detail: string }> {
  override get message(): string {
    return `the peer's answer is malformed: ${this.detail}`
  }
}

/** Represents the last event of an answer. */
export type LastEvent = Extract<GenerateEvent, { readonly _tag: "Finished" | "Failed" }>

/** Represents every other one. */
export type EarlyEvent = Exclude<GenerateEvent, LastEvent>

/**
 * Asks the peer at the other end of `link`: hands each checked event to `deliver` as it comes and returns the last
 * one. A lost session or stream and an answer that breaks the rules are a `Failed` with `engine_lost`. Interrupting
 * cancels the answer on the peer; a `deliver` that waits holds the peer by credit.
 */
export const ask = (
  link: Link.Link,
  request: GenerateRequest,
  deliver: (event: EarlyEvent) => Effect.Effect<unknown>
): Effect.Effect<LastEvent> =>
  Link.open(link, "generate", encodeRequest(request)).pipe(
    Effect.tap((stream) => stream.end),
    Effect.flatMap((stream) => receive(stream, request, deliver)),
    Effect.scoped,
    Effect.catchAll((error) => Effect.succeed(lost(error.message)))
  )

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
    // A stream that was reset or lost, or a request that never came whole: nobody is left to be told.
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

const lost = (message: string): LastEvent => ({
  _tag: "Failed",
  failure: { code: "engine_lost", message: message.slice(0, 1024) }
})

/** Delivers the checked events of the stream and returns the last. */
const receive = Effect.fnUntraced(
  function* (stream: MeshStream, request: GenerateRequest, deliver: (event: EarlyEvent) => Effect.Effect<unknown>) {
    const frames = Frames.reader(stream)
    const judge = makeJudge(request)
    const next = frames.read(GenerateEvent, eventBytesMax)
    const tooLate = () => new AnswerMalformed({ detail: "it did not begin in time" })
    const first = Effect.timeoutFail(next, { duration: beginDeadline, onTimeout: tooLate })
    for (let hasBegun = false; ; hasBegun = true) {
      const event = Option.getOrUndefined(yield* hasBegun ? next : first)
      if (event === undefined) return yield* new AnswerMalformed({ detail: "it ended before it was finished" })
      const wrong = judge(event)
      if (wrong !== undefined) return yield* wrong
      if (event._tag === "Finished" || event._tag === "Failed") return event
      yield* deliver(event)
    }
  },
  (receiving, stream) => Effect.tapErrorTag(receiving, "AnswerMalformed", () => stream.reset(Link.ResetCode.malformed))
)

/**
 * Returns a check of one answer's events in their order: `Started` first and once, never more tokens than were asked
 * for, never more text than any answer has, and a count at the end that is the number of tokens that came.
 */
const makeJudge = (request: GenerateRequest) => {
  let started = false
  let tokens = request.resume?.tokens.length ?? 0
  let characters = request.resume?.textLength ?? 0
  const tokensMax = request.maxTokens ?? answerTokensMax
  const wrong = (detail: string) => new AnswerMalformed({ detail })
  return (event: GenerateEvent): AnswerMalformed | undefined => {
    switch (event._tag) {
      case "Started":
        if (started) return wrong("it started twice")
        started = true
        return undefined
      case "Delta":
        tokens += event.tokens.length
        characters += event.text.length
        if (!started) return wrong("text came before the start")
        if (characters > answerCharactersMax) return wrong("more text than any answer has")
        return tokens > tokensMax ? wrong("more tokens than asked for") : undefined
      case "Finished":
        if (!started) return wrong("it finished before it started")
        return event.usage.completionTokens === tokens
          ? undefined
          : wrong(`it counts ${event.usage.completionTokens} tokens, ${tokens} came`)
      case "Failed":
        return undefined
    }
  }
}
