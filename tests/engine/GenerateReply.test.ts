/** Streams that carry one answer after another: when they are used again, how an answer is taken back, what holds. */
import { expect } from "bun:test"
import type { AnswerListener } from "@weft/engine/Engine"
import * as GenerateCall from "@weft/engine/GenerateCall"
import type * as GenerateReply from "@weft/engine/GenerateReply"
import type { GenerateEvent, GenerateRequest } from "@weft/engine/Generation"
import * as Frames from "@weft/mesh/Frames"
import * as Link from "@weft/mesh/Link"
import type { MeshStream } from "@weft/mesh/Transport"
import { Effect, Either, Fiber, TestClock } from "effect"
import { it } from "../support/effect.ts"
import { answered, byEngine, byHand, byReply, encode, frames, type Give, pass, whole } from "./calling.ts"
import { delta, failed, finished, request, type Scripted, saying, scripted, started } from "./scripted.ts"

/** Answers with a scripted engine and keeps the streams that were opened for it. */
const counted = (engine: Scripted) => {
  const streams: Array<MeshStream> = []
  const counting = Effect.map(
    byEngine(engine),
    (give): Give =>
      (incoming) => {
        streams.push(incoming.stream)
        return give(incoming)
      }
  )
  return { counting, streams }
}

it.effect("the next answer goes over the stream of the one before, whether that ended or was cancelled", () => {
  const engine = scripted(({ offer }, { maxTokens }) =>
    maxTokens === 1
      ? saying([started, delta("a"), finished(1)])({ offer })
      : Effect.zipRight(offer(started), Effect.never)
  )
  const { counting, streams } = counted(engine)
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
      for (const _ of [1, 2, 3]) expect((yield* whole(ends, short)).text).toBe("a")
      expect(streams.length).toBe(2)
    })
  )
})

it.effect("an engine that speaks on after it was cancelled, or after its last event, is in no later answer", () => {
  const spoken: Array<AnswerListener> = []
  const engine = Effect.map(scripted(() => Effect.never).engine, (engine) => ({
    ...engine,
    generate: (_: GenerateRequest, listen: AnswerListener) => {
      spoken.push(listen)
      listen([started])
      return () => {}
    }
  }))
  const outcomes: Array<GenerateReply.Outcome> = []
  const giving = Effect.map(engine, (engine) => byReply(Either.right(engine), (outcome) => outcomes.push(outcome)))
  return answered(giving, (ends) =>
    Effect.gen(function* () {
      const first = yield* Effect.fork(whole(ends))
      yield* Effect.repeatN(Effect.yieldNow(), 500)
      yield* Fiber.interrupt(first)
      yield* Effect.repeatN(Effect.yieldNow(), 500)
      const second = yield* Effect.fork(whole(ends))
      yield* Effect.repeatN(Effect.yieldNow(), 500)
      spoken[0]?.([delta("of the first"), finished(1)])
      spoken[1]?.([delta("of the second"), finished(1)])
      spoken[1]?.([delta("and more"), finished(2)])
      expect((yield* Fiber.join(second)).text).toBe("of the second")
      const third = yield* Effect.fork(whole(ends))
      yield* Effect.repeatN(Effect.yieldNow(), 500)
      spoken[1]?.([delta("of the second")])
      spoken[2]?.([delta("of the third"), finished(1)])
      expect((yield* Fiber.join(third)).text).toBe("of the third")
      expect(outcomes).toEqual(["cancelled", "finished", "finished"])
    })
  )
})

it.effect("the stream of an answer that failed ends with it, on both sides", () => {
  const engine = scripted(saying([started, failed("internal")]))
  const { counting, streams } = counted(engine)
  return answered(counting, (ends) =>
    Effect.gen(function* () {
      for (const count of [1, 2]) {
        expect((yield* whole(ends)).last).toEqual(failed("internal"))
        expect(streams.length).toBe(count)
        yield* streams.at(-1)?.closed ?? Effect.die("there is one")
      }
    })
  )
})

it.effect("a peer that goes on with an answer that was cancelled loses its stream, and nothing of it is told", () => {
  let resets = 0
  return answered(
    byHand((stream) =>
      stream.write(encode(started)).pipe(
        Effect.zipRight(Effect.forever(Effect.delay(stream.write(encode(delta("more "))), "1 second"))),
        Effect.tapError(() => Effect.sync(() => resets++))
      )
    ),
    (ends) =>
      Effect.gen(function* () {
        const told: Array<GenerateEvent> = []
        const cancel = GenerateCall.ask(ends.far, request(), (events) => told.push(...events))
        yield* pass(5)
        cancel()
        const before = told.length
        expect(before).toBeGreaterThan(1)
        yield* Effect.repeatN(TestClock.adjust("1 second"), 2)
        expect(resets).toBe(0)
        yield* Effect.repeatN(TestClock.adjust("1 second"), 3)
        expect([resets, told.length]).toEqual([1, before])
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
