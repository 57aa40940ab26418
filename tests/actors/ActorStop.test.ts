/** How an actor stops: what runs may end, what waits is refused, nothing waits for ever. */
import { expect } from "bun:test"
import { Rpc } from "@effect/rpc"
import * as Actor from "@weft/actors/Actor"
import { ActorStopped } from "@weft/actors/ActorError"
import { Deferred, Effect, Exit, Fiber, Scope, Stream, TestClock } from "effect"
import { it } from "../support/effect.ts"
import { Counter, counter, hooks } from "./Counter.ts"

const roomy = { mailboxCapacity: 16 }
const stopped = new ActorStopped({ actor: "counter", reason: "stopped" })
const settle = Effect.repeatN(Effect.yieldNow(), 20)

it.effect("stopping lets the running turn end, refuses what waits and what comes, ends streams and join", () =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const { held, release } = yield* hooks
    const { join, ref } = yield* Scope.extend(Actor.spawn(Counter, counter({ held, release }), roomy), scope)
    const opened = yield* Deferred.make<void>()
    const watching = yield* Effect.fork(
      Effect.flip(Stream.runForEach(ref.Watch(), () => Deferred.succeed(opened, undefined)))
    )
    yield* Deferred.await(opened)
    const running = yield* Effect.fork(ref.Hold())
    yield* Deferred.await(held)
    const queued = yield* Effect.fork(Effect.flip(ref.Add({ n: 1 })))
    yield* settle
    const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
    expect(yield* Fiber.join(queued)).toEqual(stopped)
    expect(yield* Effect.flip(ref.Add({ n: 1 }))).toEqual(stopped)
    expect(yield* Effect.flip(ref.Add({ n: 1 }, { discard: true }))).toEqual(stopped)
    expect(closing.unsafePoll()).toBe(null)
    yield* Deferred.succeed(release, undefined)
    yield* Fiber.join(running)
    yield* Fiber.join(closing)
    expect(yield* Fiber.join(watching)).toEqual(stopped)
    yield* join
    expect(yield* Effect.flip(ref.Add({ n: 1 }))).toEqual(stopped)
    expect(yield* Effect.flip(Stream.runDrain(ref.Watch()))).toEqual(stopped)
  })
)

it.effect("a turn that overruns the shutdown bound is cut, and its caller told", () =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const { held, release } = yield* hooks
    const { ref } = yield* Scope.extend(
      Actor.spawn(Counter, counter({ held, release }), { ...roomy, shutdown: "3 seconds" }),
      scope
    )
    const running = yield* Effect.fork(Effect.flip(ref.Hold()))
    yield* Deferred.await(held)
    const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
    yield* TestClock.adjust("2999 millis")
    expect(running.unsafePoll()).toBe(null)
    yield* TestClock.adjust("1 millis")
    expect(yield* Fiber.join(running)).toEqual(stopped)
    yield* Fiber.join(closing)
  })
)

it.effect("a turn that cannot be interrupted is left behind: the scope closes all the same", () =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const { held, release } = yield* hooks
    const build = Effect.map(counter({ held, release }), (handlers) =>
      Counter.protocol.of({ ...handlers, Hold: () => Rpc.uninterruptible(handlers.Hold()) })
    )
    const { ref } = yield* Scope.extend(Actor.spawn(Counter, build, roomy), scope)
    const running = yield* Effect.fork(Effect.flip(ref.Hold()))
    yield* Deferred.await(held)
    const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
    // 5 s for the turn, then at most 1 s each for its clean-up, the life's and the server's.
    for (const _second of Array.from({ length: 8 })) yield* TestClock.adjust("1 second")
    yield* Fiber.join(closing)
    expect(running.unsafePoll()).toBe(null)
    yield* Deferred.succeed(release, undefined)
    expect(yield* Fiber.join(running)).toEqual(stopped)
  })
)

it.effect("actors of one scope stop in reverse order, each with what its build acquired", () =>
  Effect.gen(function* () {
    const order: Array<string> = []
    const build = (name: string) =>
      Effect.zipRight(
        Effect.acquireRelease(
          Effect.sync(() => order.push(`+${name}`)),
          () => Effect.sync(() => order.push(`-${name}`))
        ),
        counter()
      )
    yield* Effect.scoped(
      Effect.gen(function* () {
        yield* Actor.spawn(Counter, build("a"), roomy)
        yield* Actor.spawn(Counter, build("b"), roomy)
        yield* Actor.spawn(Counter, build("c"), roomy)
      })
    )
    expect(order).toEqual(["+a", "+b", "+c", "-c", "-b", "-a"])
  })
)
