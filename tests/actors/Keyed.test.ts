/** Children by key: started once, stopped whole, their loss visible. */
import { expect } from "bun:test"
import * as Actor from "@weft/actors/Actor"
import * as Keyed from "@weft/actors/Keyed"
import { Deferred, Effect, Exit, Fiber, Option, Scope, TestClock } from "effect"
import { it } from "../support/effect.ts"
import { Counter, counter } from "./Counter.ts"

const settle = Effect.repeatN(Effect.yieldNow(), 50)

/** Actors by name that note starts and stops; the stop waits for `leave`. */
const rooms = (capacity: number) =>
  Effect.gen(function* () {
    const notes: Array<string> = []
    const leave = yield* Deferred.make<void>()
    const start = (name: string) =>
      Effect.gen(function* () {
        if (name === "broken") return yield* Effect.fail("no such room")
        notes.push(`+${name}`)
        yield* Effect.addFinalizer(() => Effect.sync(() => notes.push(`-${name}`)))
        if (name === "slow") yield* Effect.addFinalizer(() => Deferred.await(leave))
        return yield* Actor.spawn(Counter, counter(), { mailboxCapacity: 16 })
      })
    return { keyed: yield* Keyed.make({ start, capacity }), leave, notes }
  })

it.effect("callers that come at once share one start, and so does who comes later", () =>
  Effect.gen(function* () {
    const { keyed, notes } = yield* rooms(10)
    const got = yield* Effect.forEach(Array.from({ length: 20 }), () => keyed.get("a"), { concurrency: "unbounded" })
    expect(new Set(got).size).toBe(1)
    expect(got).toContain(yield* keyed.get("a"))
    expect(notes).toEqual(["+a"])
    expect(yield* keyed.keys).toEqual(["a"])
    expect(Option.isSome(yield* keyed.find("a"))).toBe(true)
    expect(Option.isNone(yield* keyed.find("b"))).toBe(true)
  })
)

it.effect("a start that fails fails its callers and leaves the key free", () =>
  Effect.gen(function* () {
    const { keyed } = yield* rooms(10)
    expect(yield* Effect.flip(keyed.get("broken"))).toBe("no such room")
    yield* settle
    expect(yield* keyed.keys).toEqual([])
    expect(yield* Effect.flip(keyed.get("broken"))).toBe("no such room")
  })
)

it.effect("the bound refuses a further key, never one that lives", () =>
  Effect.gen(function* () {
    const { keyed } = yield* rooms(2)
    yield* keyed.get("a")
    yield* keyed.get("b")
    expect(yield* Effect.flip(keyed.get("c"))).toEqual(new Keyed.KeyedFull({ capacity: 2 }))
    yield* keyed.get("a")
    yield* keyed.stop("a")
    yield* keyed.get("c")
  })
)

it.effect("stop completes when the child ended; who asks for the key meanwhile gets its successor", () =>
  Effect.gen(function* () {
    const { keyed, leave, notes } = yield* rooms(10)
    const first = yield* keyed.get("slow")
    yield* first.ref.Add({ n: 1 })
    const stopping = yield* Effect.fork(keyed.stop("slow"))
    yield* settle
    const next = yield* Effect.fork(keyed.get("slow"))
    yield* settle
    expect(stopping.unsafePoll()).toBe(null)
    expect(next.unsafePoll()).toBe(null)
    yield* Deferred.succeed(leave, undefined)
    yield* Fiber.join(stopping)
    const second = yield* Fiber.join(next)
    expect(yield* second.ref.Add({ n: 1 })).toBe(1)
    expect((yield* Effect.flip(first.ref.Add({ n: 1 })))._tag).toBe("ActorStopped")
    expect(notes).toEqual(["+slow", "-slow", "+slow"])
  })
)

it.effect("a child that gives up frees its key, and join tells", () =>
  Effect.gen(function* () {
    const { keyed } = yield* rooms(10)
    const { ref } = yield* keyed.get("a")
    yield* keyed.get("b")
    for (let crash = 0; crash < 6; crash++) {
      const crashed = yield* Effect.fork(Effect.exit(ref.Crash()))
      yield* settle
      yield* TestClock.adjust("4 seconds")
      yield* Fiber.join(crashed)
    }
    expect((yield* Effect.flip(keyed.join)).child).toBe("counter")
    yield* settle
    expect(yield* keyed.keys).toEqual(["b"])
    const again = yield* keyed.get("a")
    expect(yield* again.ref.Add({ n: 1 })).toBe(1)
  })
)

it.effect("all children end with the scope", () =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const { keyed, notes } = yield* Scope.extend(rooms(10), scope)
    yield* keyed.get("a")
    yield* keyed.get("b")
    yield* Scope.close(scope, Exit.void)
    expect(notes.sort()).toEqual(["+a", "+b", "-a", "-b"])
  })
)
