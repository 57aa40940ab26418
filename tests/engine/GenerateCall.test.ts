/** One answer over a link in memory: what a peer may send, how an answer is cancelled, and what a fault does. */
import { expect } from "bun:test"
import type * as GenerateReply from "@weft/engine/GenerateReply"
import type { GenerateEvent, GenerateFailure } from "@weft/engine/Generation"
import { concat } from "@weft/mesh/FrameBuffer"
import * as Frames from "@weft/mesh/Frames"
import * as Link from "@weft/mesh/Link"
import { Deferred, Effect, Either, Exit, Fiber, Option, Random, TestClock } from "effect"
import { it } from "../support/effect.ts"
import { virtualTime } from "../support/virtualTime.ts"
import { answered, byEngine, byHand, byReply, encode, failureOf, frames, pass, tags, whole } from "./calling.ts"
import { delta, failed, finished, request, saying, scripted, started } from "./scripted.ts"

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
    Effect.succeed(byReply(Either.left(refusal))),
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
