/** One answer over a link in memory: what a peer may send, how an answer is cancelled, and what a fault does. */
import { expect } from "bun:test"
import * as GenerateCall from "@weft/engine/GenerateCall"
import * as GenerateReply from "@weft/engine/GenerateReply"
import { GenerateEvent, type GenerateFailure, type GenerateRequest, isLast } from "@weft/engine/Generation"
import { concat } from "@weft/mesh/FrameBuffer"
import * as Frames from "@weft/mesh/Frames"
import * as Link from "@weft/mesh/Link"
import type { MemoryNetworkOptions } from "@weft/mesh/MemoryNetwork"
import type { MeshStream } from "@weft/mesh/Transport"
import { Deferred, Duration, Effect, Either, Exit, Fiber, Option, Random, type Scope, TestClock } from "effect"
import { linked } from "../mesh/links.ts"
import { it } from "../support/effect.ts"
import { virtualTime } from "../support/virtualTime.ts"
import { type Answer, answerOf } from "./asking.ts"
import { delta, failed, finished, request, type Scripted, saying, scripted, started } from "./scripted.ts"

const encode = Frames.encode(GenerateEvent)
const frames = (events: ReadonlyArray<GenerateEvent>) => concat(events.map((event) => encode(event)))

interface Ends {
  readonly near: Link.Link
  readonly far: Link.Link
}

/** What a peer does with a stream: an effect that runs, or none where calls were made. */
type Give = (incoming: Link.Incoming) => Effect.Effect<unknown, unknown> | undefined

/** Runs `body` with a link whose peer (`near`) answers with what `giving` makes; the entry's end is `far`. */
const answered = <A, E, R>(
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
const byService =
  (engine: GenerateReply.Taken["engine"], done: GenerateReply.Taken["done"] = () => {}): Give =>
  ({ stream }) => {
    GenerateReply.serve(stream, () => ({ engine, done }))
    return undefined
  }

const byEngine = (
  { engine }: Scripted,
  done?: (outcome: GenerateReply.Outcome) => void
): Effect.Effect<Give, never, Scope.Scope> => Effect.map(engine, (engine) => byService(Either.right(engine), done))

/** What a peer does on the stream itself, without our code. */
const byHand = (act: (stream: MeshStream) => Effect.Effect<unknown, unknown>): Effect.Effect<Give> =>
  Effect.succeed(({ stream }) => Effect.zipRight(act(stream), Effect.never))

/** Asks and gathers the whole answer; `noted` is called after each event. Interrupting cancels. */
const whole = (
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

const tags = (events: ReadonlyArray<GenerateEvent>) => events.map(({ _tag }) => _tag)
const failureOf = (event: GenerateEvent | undefined): GenerateFailure | undefined =>
  event?._tag === "Failed" ? event.failure : undefined

it.effect("an answer arrives as the engine gave it, and the engine's scope is closed after it", () => {
  const events = [started, delta("Once "), delta("upon"), finished(2)]
  const engine = scripted(saying(events))
  return answered(byEngine(engine), (ends) =>
    Effect.gen(function* () {
      expect((yield* whole(ends)).events).toEqual(events)
      yield* TestClock.adjust("10 seconds")
      expect([engine.begun(), engine.open()]).toEqual([1, 0])
    })
  )
})

/** Answers that break the rules, what of them is delivered, and a word of the reason. */
const malformed: ReadonlyArray<readonly [name: string, sent: ReadonlyArray<GenerateEvent>, delivered: number, RegExp]> =
  [
    ["a second start", [started, started, finished(0)], 1, /twice/],
    ["text before the start", [delta("a"), started, finished(1)], 0, /before the start/],
    ["an end before the start", [finished(0)], 0, /before it started/],
    [
      "more tokens than asked for",
      [started, delta("a"), delta("b"), delta("c"), delta("d"), finished(4)],
      4,
      /more tokens/
    ],
    ["too many tokens in one piece", [started, { _tag: "Delta", text: "a", tokens: [1, 2, 3, 4] }], 1, /more tokens/],
    ["a count that is too high", [started, delta("a"), finished(2)], 2, /counts 2 tokens, 1 came/],
    ["a count that is too low", [started, delta("a"), delta("b"), finished(1)], 3, /counts 1 tokens, 2 came/],
    ["an end without a last event", [started, delta("a")], 2, /ended before/],
    ["nothing at all", [], 0, /ended before/]
  ]
for (const [name, sent, delivered, why] of malformed) {
  it.effect(`${name} fails the answer as engine_lost; what was right before it is kept`, () =>
    answered(
      byHand((stream) => Effect.zipRight(stream.write(frames(sent)), stream.end)),
      (ends) =>
        Effect.gen(function* () {
          const { events, last } = yield* whole(ends, request({ maxTokens: 3 }))
          expect(events.slice(0, -1)).toEqual(sent.slice(0, delivered))
          expect(failureOf(last)?.code).toBe("engine_lost")
          expect(failureOf(last)?.message).toMatch(why)
        })
    )
  )
}

it.effect("what a peer sends behind the last event is not delivered", () =>
  answered(
    byHand((stream) => stream.write(frames([started, delta("a"), finished(1), delta("b"), failed("internal")]))),
    (ends) => Effect.map(whole(ends), ({ events }) => expect(tags(events)).toEqual(["Started", "Delta", "Finished"]))
  )
)

const garbage: ReadonlyArray<readonly [name: string, bytes: Uint8Array]> = [
  ["bytes that are no frame", new Uint8Array(64).fill(0xc1)],
  ["a frame of 1 MiB", Frames.encodePayload(new Uint8Array(1024 * 1024))],
  ["a frame that is no value", Frames.encodePayload(new Uint8Array(9).fill(0xc1))],
  ["a value that is no event", Frames.encodePayload(Uint8Array.of(0x81, 0xa1, 0x61, 7))],
  ["half a frame", encode(started).subarray(0, 12)]
]
for (const [name, bytes] of garbage) {
  it.effect(`${name} in the middle of an answer fails it as engine_lost`, () =>
    answered(
      byHand((stream) => Effect.zipRight(stream.write(concat([encode(started), bytes])), stream.end)),
      (ends) =>
        Effect.gen(function* () {
          const { events, last } = yield* whole(ends)
          expect(tags(events)).toEqual(["Started", "Failed"])
          expect(failureOf(last)?.code).toBe("engine_lost")
        })
    )
  )
}

/** Lets time pass so that the sessions tick in it. */
const pass = (seconds: number) => Effect.repeatN(TestClock.adjust(Duration.seconds(seconds / 5)), 4)

it.effect("a peer that stops in the middle of a frame fails the answer within a minute", () =>
  answered(
    byHand((stream) => stream.write(encode(started).subarray(0, 12))),
    (ends) =>
      Effect.gen(function* () {
        const answer = yield* Effect.fork(whole(ends))
        yield* pass(40)
        expect(failureOf((yield* Fiber.join(answer)).last)?.code).toBe("engine_lost")
      })
  )
)

it.effect("a peer that takes a request and never begins fails the answer; one that has begun may be silent", () =>
  Effect.gen(function* () {
    yield* answered(
      byHand(() => Effect.void),
      (ends) =>
        Effect.gen(function* () {
          const answer = yield* Effect.fork(whole(ends))
          yield* pass(125)
          expect(failureOf((yield* Fiber.join(answer)).last)?.message).toContain("did not begin")
        })
    )
    yield* answered(
      byHand((stream) => stream.write(encode(started))),
      (ends) =>
        Effect.gen(function* () {
          const answer = yield* Effect.fork(whole(ends))
          yield* pass(150)
          expect(yield* Fiber.poll(answer)).toEqual(Option.none())
        })
    )
  })
)

it.effect("a stream that is reset and a session that dies fail the answer as engine_lost", () =>
  Effect.gen(function* () {
    const reset = answered(
      byHand((stream) => Effect.zipRight(stream.write(encode(started)), stream.reset(9))),
      (ends) => whole(ends)
    )
    expect(failureOf((yield* reset).last)?.code).toBe("engine_lost")
    const closed = answered(
      byHand((stream) => stream.write(encode(started))),
      (ends) =>
        // Each event that was delivered closes the session; the first does it.
        whole(ends, request(), () => Effect.runSync(ends.near.session.close(1, "going")))
    )
    const { events, last } = yield* closed
    expect(events.slice(0, -1)).toEqual([started])
    expect(failureOf(last)?.code).toBe("engine_lost")
  })
)

it.effect("text without end is cut off, however few tokens it claims to be", () =>
  answered(
    byHand((stream) =>
      Effect.zipRight(
        stream.write(encode(started)),
        Effect.forever(stream.write(encode({ _tag: "Delta", text: "x".repeat(200_000), tokens: [] })))
      )
    ),
    (ends) =>
      Effect.gen(function* () {
        const { last, text } = yield* whole(ends)
        expect(failureOf(last)?.message).toContain("more text")
        expect(text.length).toBeLessThanOrEqual(4 * 1024 * 1024)
      })
  )
)

it.effect("tokens without end are cut off where the request names no bound", () =>
  answered(
    byHand((stream) =>
      Effect.zipRight(
        stream.write(encode(started)),
        Effect.forever(stream.write(encode({ _tag: "Delta", text: "", tokens: Array<number>(50_000).fill(1) })))
      )
    ),
    (ends) => Effect.map(whole(ends), ({ last }) => expect(failureOf(last)?.message).toContain("more tokens"))
  )
)

it.effect("a refusal arrives whole although the peer closes the stream right behind it", () => {
  const refusal: GenerateFailure = { code: "overloaded", message: "come again", param: "model" }
  return answered(
    Effect.succeed(byService(Either.left(refusal))),
    (ends) =>
      Effect.gen(function* () {
        const { events } = yield* whole(ends)
        expect(events).toEqual([{ _tag: "Failed", failure: refusal }])
      }),
    { delayMs: 0, jitterMs: 0 }
  )
})

it.effect("a request that is malformed or never whole is given up, and no engine is asked", () => {
  const engine = scripted(saying([started, finished(0)]))
  const outcomes: Array<GenerateReply.Outcome> = []
  return answered(
    byEngine(engine, (outcome) => outcomes.push(outcome)),
    ({ far }) =>
      Effect.gen(function* () {
        const bad = yield* Link.open(far, "generate")
        yield* bad.write(Frames.encodePayload(Uint8Array.of(0x80)))
        expect((yield* Effect.flip(bad.read)).code).toBe(Link.ResetCode.malformed)
        const slow = yield* Link.open(far, "generate")
        yield* slow.write(Uint8Array.of(0, 0))
        yield* Effect.repeatN(TestClock.adjust("1 second"), 25)
        expect((yield* Effect.flip(slow.read)).reason).toBe("Reset")
        const huge = yield* Link.open(far, "generate")
        yield* huge.write(Uint8Array.of(255, 0, 0, 0))
        expect((yield* Effect.flip(huge.read)).code).toBe(Link.ResetCode.malformed)
        expect([engine.begun(), ...outcomes]).toEqual([0])
      })
  )
})

it.effect("the next answer goes over the stream of the one before; one that was cancelled is never used again", () => {
  const engine = scripted(({ offer }, { maxTokens }) =>
    maxTokens === 1
      ? saying([started, delta("a"), finished(1)])({ offer })
      : Effect.zipRight(offer(started), Effect.never)
  )
  const streams: Array<MeshStream> = []
  const counting = Effect.map(
    byEngine(engine),
    (give): Give =>
      (incoming) => {
        streams.push(incoming.stream)
        return give(incoming)
      }
  )
  return answered(counting, (ends) =>
    Effect.gen(function* () {
      const short = request({ maxTokens: 1 })
      for (const _ of [1, 2, 3]) expect((yield* whole(ends, short)).text).toBe("a")
      expect(streams.length).toBe(1)
      // Two at once need two streams.
      yield* Effect.all([whole(ends, short), whole(ends, short)], { concurrency: 2 })
      expect(streams.length).toBe(2)
      const cancelled = yield* Effect.fork(Effect.all([whole(ends), whole(ends)], { concurrency: 2 }))
      yield* Effect.repeatN(Effect.yieldNow(), 500)
      yield* Fiber.interrupt(cancelled)
      yield* Effect.repeatN(Effect.yieldNow(), 500)
      expect(engine.open()).toBe(0)
      expect((yield* whole(ends, short)).text).toBe("a")
      expect(streams.length).toBe(3)
    })
  )
})

it.effect("a stream that ends while it is idle is not asked on", () => {
  const answers = [started, delta("a"), finished(1)]
  let asked = 0
  return answered(
    byHand((stream) => {
      // What comes after the answer: another one, an end, a reset.
      const more = [stream.write(frames(answers)), stream.end, stream.reset(9)][asked++ % 3] ?? Effect.void
      return Effect.zipRight(stream.write(frames(answers)), Effect.zipRight(Effect.sleep("1 second"), more))
    }),
    (ends) =>
      Effect.gen(function* () {
        for (const count of [1, 2, 3, 4]) {
          expect((yield* whole(ends)).text).toBe("a")
          expect(asked).toBe(count)
          yield* TestClock.adjust("1 second")
          yield* Effect.repeatN(Effect.yieldNow(), 200)
        }
      })
  )
})

it.effect("cancelling frees the engine at once, in the middle of its text", () => {
  const engine = scripted(({ offer }) => Effect.zipRight(offer(started), Effect.forever(offer(delta("text ")))))
  return answered(byEngine(engine), (ends) =>
    Effect.gen(function* () {
      const asking = yield* Effect.fork(whole(ends))
      yield* Effect.repeatN(Effect.yieldNow(), 2_000)
      expect(engine.open()).toBe(1)
      yield* Fiber.interrupt(asking)
      // No time passes; what is on its way arrives.
      yield* Effect.repeatN(Effect.yieldNow(), 2_000)
      expect(engine.open()).toBe(0)
    })
  )
})

it.effect(
  "an entry that takes nothing costs the peer its credit and a bounded wait, then the answer is given up",
  () => {
    let made = 0
    const text = "x".repeat(1_000)
    const engine = scripted(({ offer }) =>
      Effect.zipRight(offer(started), Effect.forever(Effect.tap(offer(delta(text)), () => Effect.sync(() => made++))))
    )
    const outcomes: Array<GenerateReply.Outcome> = []
    return answered(
      byEngine(engine, (outcome) => outcomes.push(outcome)),
      ({ far }) =>
        Effect.gen(function* () {
          const stream = yield* Link.open(far, "generate")
          yield* stream.write(Frames.frame(request()))
          yield* stream.end
          expect((yield* Effect.flip(stream.closed)).code).toBe(Link.ResetCode.overrun)
          expect([engine.open(), ...outcomes]).toEqual([0, "cancelled"])
          // 256 KiB of credit and 1 MiB that waits, a little over a kilobyte each.
          expect(made).toBeLessThan(1_300)
          expect(made).toBeGreaterThan(1_200)
        })
    )
  }
)

/** One answer by seed over a network that delays, cuts streams and loses sessions. */
const simulate = (seed: number) =>
  Effect.gen(function* () {
    const random = Random.make(seed)
    const count = yield* random.nextIntBetween(0, 60)
    const sent = [
      started,
      ...Array.from({ length: count }, (_, index) => delta(`word ${index} `.repeat(1 + (index % 40)), index)),
      (yield* random.nextBoolean) ? finished(count) : failed("internal")
    ]
    const engine = scripted(({ offer }) =>
      Effect.forEach(sent, (event) => Effect.zipRight(Effect.sleep(3), offer(event)))
    )
    const faults = { delayMs: 10, jitterMs: 30, streamCutPerMessage: 0.02, sessionLossPerMessage: 0.005, seed }
    const result = yield* Deferred.make<ReadonlyArray<GenerateEvent>>()
    const play = answered(
      byEngine(engine),
      (ends) =>
        Effect.gen(function* () {
          const { events } = yield* whole(ends)
          yield* Deferred.succeed(result, events)
          yield* Effect.sleep("10 seconds")
          expect(engine.open()).toBe(0)
        }),
      faults
    )
    const exit = yield* Effect.exit(virtualTime(play))
    return { sent, exit, events: (yield* Deferred.isDone(result)) ? yield* Deferred.await(result) : undefined }
  })

it.effect(
  "under any faults an answer is a beginning of what was sent and ends with exactly one last event",
  () =>
    Effect.gen(function* () {
      let [whole, cut] = [0, 0]
      for (let seed = 1; seed <= 300; seed++) {
        const { sent, events, exit } = yield* simulate(seed)
        // The hello or the request itself can be lost: then nothing was begun.
        if (events === undefined) {
          expect(Exit.isFailure(exit)).toBe(true)
          continue
        }
        const context = `seed ${seed}`
        const last = events.at(-1)
        const lost = failureOf(last)?.code === "engine_lost"
        expect({ context, events: lost ? events.slice(0, -1) : events }).toEqual({
          context,
          events: lost ? sent.slice(0, events.length - 1) : sent
        })
        const ends = events.filter(({ _tag }) => _tag === "Finished" || _tag === "Failed")
        expect({ context, ends: ends.length }).toEqual({ context, ends: 1 })
        if (lost) cut++
        else whole++
      }
      expect(whole).toBeGreaterThan(50)
      expect(cut).toBeGreaterThan(50)
    }),
  60_000
)
