/** The promises of one actor: order, bound, crash, cancel, streams, stop. */
import { expect } from "bun:test"
import * as Actor from "@weft/actors/Actor"
import { Cause, Chunk, Deferred, Effect, Either, Exit, Fiber, Stream, TestClock } from "effect"
import { it } from "../support/effect.ts"
import { Counter, counter, hooks } from "./Counter.ts"

const capacity = { mailboxCapacity: 16 }

it.effect("an ask gives the answer of its turn, a prefixed rpc too", () =>
  Effect.gen(function* () {
    const { ref } = yield* Actor.spawn(Counter, counter(), capacity)
    expect(yield* ref.Add({ n: 2 })).toBe(2)
    expect(yield* ref.batch.Add({ n: [1, 2] })).toBe(5)
    expect(yield* Effect.flip(ref.Refuse())).toBe("no")
    expect(yield* ref.Add({ n: 0 })).toBe(5)
  })
)

it.effect("crash gives defect, keeps queued, rebuilds", () =>
  Effect.gen(function* () {
    const { held, release } = yield* hooks
    const { ref } = yield* Actor.spawn(Counter, counter({ held, release }), capacity)
    yield* ref.Add({ n: 7 })
    const holding = yield* Effect.fork(ref.Hold())
    yield* Deferred.await(held)
    const crash = yield* Effect.fork(Effect.exit(ref.Crash()))
    const queued = yield* Effect.fork(ref.Add({ n: 10 }))
    yield* Effect.yieldNow()
    yield* Deferred.succeed(release, undefined)
    yield* holding.await
    const exit = yield* Fiber.join(crash)
    expect(exit).toEqual(Exit.die("crash"))
    expect(queued.unsafePoll()).toBe(null)
    yield* TestClock.adjust("200 millis")
    expect(yield* Fiber.join(queued)).toBe(10)
  })
)

it.effect("watch", () =>
  Effect.gen(function* () {
    const { ref } = yield* Actor.spawn(Counter, counter(), capacity)
    const got = yield* ref.Watch().pipe(Stream.take(3), Stream.runCollect, Effect.fork)
    yield* Effect.yieldNow()
    yield* Effect.yieldNow()
    yield* ref.Add({ n: 1 })
    yield* ref.Add({ n: 1 })
    expect(Chunk.toReadonlyArray(yield* Fiber.join(got))).toEqual([0, 1, 2])
  })
)
