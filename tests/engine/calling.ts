/** One answer over a link in memory: what the tests of both its ends share. */
import * as GenerateCall from "@weft/engine/GenerateCall"
import * as GenerateReply from "@weft/engine/GenerateReply"
import { GenerateEvent, type GenerateFailure, type GenerateRequest, isLast } from "@weft/engine/Generation"
import { concat } from "@weft/mesh/FrameBuffer"
import * as Frames from "@weft/mesh/Frames"
import * as Link from "@weft/mesh/Link"
import type { MemoryNetworkOptions } from "@weft/mesh/MemoryNetwork"
import type { MeshStream } from "@weft/mesh/Transport"
import { Duration, Effect, Either, type Scope, TestClock } from "effect"
import { linked } from "../mesh/links.ts"
import { type Answer, answerOf } from "./asking.ts"
import { request, type Scripted } from "./scripted.ts"

/** Encodes one event. */
export const encode = Frames.encode(GenerateEvent)
/** Returns the frames of these events. */
export const frames = (events: ReadonlyArray<GenerateEvent>) => concat(events.map((event) => encode(event)))

/** Represents both ends of a link. */
export interface Ends {
  readonly near: Link.Link
  readonly far: Link.Link
}

/** What a peer does with a stream: an effect that runs, or none where calls were made. */
export type Give = (incoming: Link.Incoming) => Effect.Effect<unknown, unknown> | undefined

/** Runs `body` with a link whose peer (`near`) answers with what `giving` makes; the entry's end is `far`. */
export const answered = <A, E, R>(
  giving: Effect.Effect<Give, never, Scope.Scope>,
  body: (ends: Ends) => Effect.Effect<A, E, R>,
  network: Partial<MemoryNetworkOptions> = {}
) =>
  linked(
    ({ near, far }) =>
      Effect.gen(function* () {
        const give = yield* giving
        const serving = Link.serve(near, (incoming) => {
          const acting = give(incoming)
          return acting === undefined ? undefined : Effect.asVoid(Effect.ignore(acting))
        })
        yield* Effect.fork(serving)
        return yield* body({ near, far })
      }),
    { network }
  )

/** Answers with our code. */
export const byReply =
  (engine: GenerateReply.Taken["engine"], done: GenerateReply.Taken["done"] = () => {}): Give =>
  ({ stream }) => {
    GenerateReply.serve(stream, () => ({ engine, done }))
    return undefined
  }

/** Answers with a scripted engine. */
export const byEngine = (
  { engine }: Scripted,
  done?: (outcome: GenerateReply.Outcome) => void
): Effect.Effect<Give, never, Scope.Scope> => Effect.map(engine, (engine) => byReply(Either.right(engine), done))

/** What a peer does on the stream itself, without our code. */
export const byHand = (act: (stream: MeshStream) => Effect.Effect<unknown, unknown>): Effect.Effect<Give> =>
  Effect.succeed(({ stream }) => Effect.zipRight(act(stream), Effect.never))

/** Asks and gathers the whole answer; `noted` is called after each event. Interrupting cancels. */
export const whole = (
  { far }: Ends,
  asked: GenerateRequest = request(),
  noted: () => void = () => {}
): Effect.Effect<Answer> =>
  Effect.async((resume) => {
    const told: Array<GenerateEvent> = []
    const cancel = GenerateCall.ask(far, asked, (events) => {
      for (const event of events) {
        told.push(event)
        noted()
        if (isLast(event)) resume(Effect.succeed(answerOf(told)))
      }
    })
    return Effect.sync(cancel)
  })

/** Returns the kinds of these events. */
export const tags = (events: ReadonlyArray<GenerateEvent>) => events.map(({ _tag }) => _tag)
/** Returns why an answer failed. */
export const failureOf = (event: GenerateEvent | undefined): GenerateFailure | undefined =>
  event?._tag === "Failed" ? event.failure : undefined

/** Lets time pass so that the sessions tick in it. */
export const pass = (seconds: number) => Effect.repeatN(TestClock.adjust(Duration.seconds(seconds / 5)), 4)
