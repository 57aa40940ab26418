/** Supervisors at work: who starts again and in which order, when failures go upward, how everything stops. */
import { expect } from "bun:test"
import * as Actor from "@weft/actors/Actor"
import * as Supervision from "@weft/actors/Supervision"
import { Context, Deferred, Effect, Exit, Fiber, Layer, Option, Scope, TestClock } from "effect"
import { it } from "../support/effect.ts"
import { Counter, counter } from "./Counter.ts"

const settle = Effect.repeatN(Effect.yieldNow(), 50)

/** Children that note their starts and stops, and fail or finish on command. */
const troupe = () => {
  const notes: Array<string> = []
  const commands = new Map<string, Deferred.Deferred<void, string>>()
  const child = (
    name: string,
    options?: Partial<Supervision.Child<string, never>>
  ): Supervision.Child<string, never> => ({
    name,
    start: Effect.gen(function* () {
      const command = yield* Deferred.make<void, string>()
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          notes.push(`+${name}`)
          commands.set(name, command)
        }),
        () => Effect.sync(() => notes.push(`-${name}`))
      )
      return Deferred.await(command)
    }),
    ...options
  })
  const command = (name: string, exit: Exit.Exit<void, string>) =>
    Effect.suspend(() => {
      const deferred = commands.get(name)
      return deferred === undefined ? Effect.dieMessage(`no child ${name}`) : Deferred.done(deferred, exit)
    }).pipe(Effect.zipRight(settle))
  const fail = (name: string) => command(name, Exit.fail(`${name} failed`))
  const taken = () => notes.splice(0).join(" ")
  return { child, command, fail, taken }
}

for (const [strategy, expected] of [
  ["one_for_one", "-b +b"],
  ["one_for_all", "-b -c -a +a +b +c"],
  ["rest_for_one", "-b -c +b +c"]
] as const) {
  it.effect(`${strategy}: the failure of b among a b c is ${expected}`, () =>
    Effect.gen(function* () {
      const { child, fail, taken } = troupe()
      const { supervise } = yield* Supervision.make({ name: "top", strategy })
      for (const name of ["a", "b", "c"]) yield* supervise(child(name))
      expect(taken()).toBe("+a +b +c")
      yield* fail("b")
      yield* TestClock.adjust("199 millis")
      yield* settle
      yield* TestClock.adjust("1 millis")
      yield* settle
      expect(taken()).toBe(expected)
    })
  )
}

it.effect("children stop in reverse order when the scope closes", () =>
  Effect.gen(function* () {
    const { child, taken } = troupe()
    const scope = yield* Scope.make()
    const { join } = yield* Effect.gen(function* () {
      const supervisor = yield* Supervision.make({ name: "top", strategy: "one_for_one" })
      for (const name of ["a", "b", "c"]) yield* supervisor.supervise(child(name))
      return supervisor
    }).pipe(Scope.extend(scope))
    taken()
    yield* Scope.close(scope, Exit.void)
    expect(taken()).toBe("-c -b -a")
    yield* join
  })
)

it.effect("a child that will not end is left behind after its shutdown bound", () =>
  Effect.gen(function* () {
    const { child, taken } = troupe()
    const scope = yield* Scope.make()
    yield* Effect.gen(function* () {
      const { supervise } = yield* Supervision.make({ name: "top", strategy: "one_for_one" })
      yield* supervise(child("a"))
      const stubborn = Effect.addFinalizer(() => Effect.never)
      yield* supervise({ name: "b", start: Effect.as(stubborn, Effect.never), shutdown: "2 seconds" })
    }).pipe(Scope.extend(scope))
    taken()
    const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
    yield* TestClock.adjust("1999 millis")
    expect(closing.unsafePoll()).toBe(null)
    yield* TestClock.adjust("1 millis")
    yield* Fiber.join(closing)
    expect(taken()).toBe("-a")
  })
)

it.effect("a crash loop escalates: the 6th failure within a minute stops the siblings and fails every join", () =>
  Effect.gen(function* () {
    const { child, fail, taken } = troupe()
    const { join, supervise } = yield* Supervision.make({ name: "top", strategy: "one_for_one" })
    const a = yield* supervise(child("a"))
    const b = yield* supervise(child("b"))
    const c = yield* supervise(child("c"))
    taken()
    for (const delayMs of [200, 400, 800, 1600, 3200]) {
      yield* fail("b")
      yield* TestClock.adjust(delayMs)
      yield* settle
      expect(taken()).toBe("-b +b")
    }
    yield* fail("b")
    const failure = yield* Effect.flip(join)
    expect(taken()).toBe("-b -c -a")
    expect(failure.child).toBe("b")
    expect(failure.restarts).toBe(5)
    expect(String(failure.cause)).toContain("b failed")
    for (const each of [a, b, c]) expect(yield* Effect.flip(each.join)).toEqual(failure)
  })
)

it.effect("a crash now and then never escalates", () =>
  Effect.gen(function* () {
    const { child, fail, taken } = troupe()
    const { join, supervise } = yield* Supervision.make({ name: "top", strategy: "one_for_one" })
    yield* supervise(child("a"))
    taken()
    const joined = yield* Effect.fork(join)
    for (let crash = 0; crash < 40; crash++) {
      yield* fail("a")
      yield* TestClock.adjust("13 seconds")
      yield* settle
      expect(taken()).toBe("-a +a")
    }
    expect(joined.unsafePoll()).toBe(null)
  })
)

it.effect("a start that fails on restart counts as a failure and is tried again, those after it wait", () =>
  Effect.gen(function* () {
    const { child, fail, taken } = troupe()
    let refusals = 0
    const { supervise } = yield* Supervision.make({ name: "top", strategy: "rest_for_one" })
    const flaky = child("a")
    const start = Effect.suspend(() => (refusals-- > 0 ? Effect.fail("not yet") : flaky.start))
    yield* supervise({ ...flaky, start })
    yield* supervise(child("b"))
    taken()
    refusals = 2
    yield* fail("a")
    for (const delayMs of [200, 400]) {
      yield* TestClock.adjust(delayMs)
      yield* settle
      expect(["-a -b", ""]).toContain(taken())
    }
    yield* TestClock.adjust(800)
    yield* settle
    expect(taken()).toBe("+a +b")
  })
)

it.effect("permanent, transient and temporary children after a clean end and after a failure", () =>
  Effect.gen(function* () {
    const { child, command, fail, taken } = troupe()
    const { supervise } = yield* Supervision.make({ name: "top", strategy: "one_for_one" })
    yield* supervise(child("permanent"))
    const transient = yield* supervise(child("transient", { restart: "transient" }))
    const temporary = yield* supervise(child("temporary", { restart: "temporary" }))
    taken()
    yield* command("permanent", Exit.void)
    yield* TestClock.adjust("1 second")
    yield* settle
    expect(taken()).toBe("-permanent +permanent")
    yield* fail("transient")
    yield* TestClock.adjust("1 second")
    yield* settle
    expect(taken()).toBe("-transient +transient")
    yield* command("transient", Exit.void)
    yield* transient.join
    yield* fail("temporary")
    expect((yield* Effect.flip(temporary.join)).child).toBe("temporary")
    yield* TestClock.adjust("1 minute")
    expect(taken()).toBe("-transient -temporary")
  })
)

it.effect("a temporary child that is stopped with its siblings stays down", () =>
  Effect.gen(function* () {
    const { child, fail, taken } = troupe()
    const { supervise } = yield* Supervision.make({ name: "top", strategy: "one_for_all" })
    yield* supervise(child("a"))
    const temporary = yield* supervise(child("b", { restart: "temporary" }))
    taken()
    yield* fail("a")
    yield* temporary.join
    yield* TestClock.adjust("1 second")
    yield* settle
    expect(taken()).toBe("-a -b +a")
  })
)

it.effect("a nested supervisor that gives up is started again by the one above, which gives up in turn", () =>
  Effect.gen(function* () {
    const { child, fail, taken } = troupe()
    const top = yield* Supervision.make({ name: "top", strategy: "one_for_all", restarts: { intensity: 1 } })
    yield* top.supervise(child("sibling"))
    const inner = yield* Effect.provideService(
      Supervision.make({ name: "inner", strategy: "one_for_one", restarts: { intensity: 1 } }),
      Supervision.CurrentSupervisor,
      Option.some(top)
    )
    const a = yield* inner.supervise(child("a"))
    yield* inner.supervise(child("b"))
    taken()
    const crashTwice = Effect.gen(function* () {
      yield* fail("a")
      yield* TestClock.adjust("200 millis")
      yield* settle
      expect(taken()).toBe("-a +a")
      yield* fail("a")
    })
    yield* crashTwice
    yield* TestClock.adjust("200 millis")
    yield* settle
    expect(taken()).toBe("-a -b -sibling +sibling +a +b")
    yield* crashTwice
    const failure = yield* Effect.flip(top.join)
    expect(taken()).toBe("-a -b -sibling")
    expect([failure.supervisor, failure.child]).toEqual(["top", "inner"])
    expect(yield* Effect.flip(inner.join)).toEqual(failure)
    expect(yield* Effect.flip(a.join)).toEqual(failure)
  })
)

it.effect("closing a child's own scope takes it off the list: it is neither restarted nor mourned", () =>
  Effect.gen(function* () {
    const { child, fail, taken } = troupe()
    const { supervise } = yield* Supervision.make({ name: "top", strategy: "one_for_all" })
    yield* supervise(child("a"))
    const scope = yield* Scope.make()
    const b = yield* Scope.extend(supervise(child("b")), scope)
    yield* Scope.close(scope, Exit.void)
    yield* b.join
    expect(taken()).toBe("+a +b -b")
    yield* fail("a")
    yield* TestClock.adjust("1 second")
    yield* settle
    expect(taken()).toBe("-a +a")
  })
)

it.effect("a child may leave while its group waits to start again; the others start without it", () =>
  Effect.gen(function* () {
    const { child, fail, taken } = troupe()
    const { supervise } = yield* Supervision.make({ name: "top", strategy: "one_for_all" })
    const scope = yield* Scope.make()
    yield* Scope.extend(supervise(child("a")), scope)
    yield* supervise(child("b"))
    taken()
    yield* fail("a")
    yield* Scope.close(scope, Exit.void)
    yield* TestClock.adjust("1 second")
    yield* settle
    expect(taken()).toBe("-a -b +b")
  })
)

class Left extends Context.Tag("tests/actors/Left")<Left, Actor.Spawned<CounterRpcsOf>>() {}
class Right extends Context.Tag("tests/actors/Right")<Right, Actor.Spawned<CounterRpcsOf>>() {}
type CounterRpcsOf = typeof Counter extends Actor.Actor<infer Rpcs> ? Rpcs : never

it.effect(
  "layers are the tree: actors above a supervisor's layer restart as a group, keep ref and queue, escalate",
  () =>
    Effect.gen(function* () {
      const capacity = { mailboxCapacity: 16 }
      const actors = Layer.merge(
        Layer.scoped(Left, Actor.spawn(Counter, counter(), capacity)),
        Layer.scoped(Right, Actor.spawn(Counter, counter(), capacity))
      )
      const group = Supervision.layer({ name: "group", strategy: "one_for_all", restarts: { intensity: 1 } })
      const context = yield* Layer.build(Layer.provideMerge(actors, group))
      const left = Context.get(context, Left)
      const right = Context.get(context, Right)
      yield* right.ref.Add({ n: 5 })
      yield* Effect.exit(left.ref.Crash())
      yield* settle
      const queued = yield* Effect.fork(right.ref.Add({ n: 1 }))
      yield* settle
      expect(queued.unsafePoll()).toBe(null)
      yield* TestClock.adjust("200 millis")
      expect(yield* Fiber.join(queued)).toBe(1)
      yield* Effect.exit(right.ref.Crash())
      const supervisor = Option.getOrThrow(Context.get(context, Supervision.CurrentSupervisor))
      expect((yield* Effect.flip(supervisor.join)).supervisor).toBe("group")
      expect((yield* Effect.flip(left.join)).child).toBe("counter")
      expect((yield* Effect.flip(left.ref.Add({ n: 1 })))._tag).toBe("ActorStopped")
    })
)

it.effect("an actor without a supervisor escalates on its own: its join fails, its callers get ActorStopped", () =>
  Effect.gen(function* () {
    const { join, ref } = yield* Actor.spawn(Counter, counter(), { mailboxCapacity: 16 })
    const crashes = yield* Effect.forEach(Array.from({ length: 6 }), () => Effect.fork(Effect.exit(ref.Crash())), {
      concurrency: 1
    })
    const queued = yield* Effect.fork(Effect.flip(ref.Add({ n: 1 })))
    for (let step = 0; step < 7; step++) {
      yield* TestClock.adjust("1 second")
      yield* settle
    }
    for (const crash of crashes) expect(yield* Fiber.join(crash)).toEqual(Exit.die("crash"))
    expect((yield* Fiber.join(queued))._tag).toBe("ActorStopped")
    expect((yield* Effect.flip(join)).restarts).toBe(5)
  })
)

it.effect("launch fails when the program's supervisor gives up, and releases the layers first", () =>
  Effect.gen(function* () {
    const spawned = yield* Deferred.make<Actor.Spawned<CounterRpcsOf>>()
    let released = false
    const app = Layer.scopedDiscard(
      Effect.gen(function* () {
        yield* Effect.addFinalizer(() => Effect.sync(() => (released = true)))
        yield* Deferred.succeed(spawned, yield* Actor.spawn(Counter, counter(), { mailboxCapacity: 16 }))
      })
    )
    const options = { name: "program", strategy: "one_for_one", restarts: { intensity: 0 } } as const
    const running = yield* Effect.fork(Effect.flip(Supervision.launch(app, options)))
    const { ref } = yield* Deferred.await(spawned)
    expect(yield* ref.Add({ n: 1 })).toBe(1)
    yield* Effect.exit(ref.Crash())
    const failure = yield* Fiber.join(running)
    expect([failure.supervisor, failure.child]).toEqual(["program", "counter"])
    expect(released).toBe(true)
  })
)
