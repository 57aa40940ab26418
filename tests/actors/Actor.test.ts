/** The promises of one actor: order, bound, crash, cancel, deadline, streams, answers given later. */
import { expect } from "bun:test"
import { Rpc, RpcGroup } from "@effect/rpc"
import * as Actor from "@weft/actors/Actor"
import { ActorStopped, AskTimeout, MailboxFull } from "@weft/actors/ActorError"
import * as ActorMetrics from "@weft/actors/ActorMetrics"
import { ask } from "@weft/actors/ActorRef"
import { Cause, Chunk, Context, Deferred, Effect, Exit, Fiber, Mailbox, Ref, Schema, Stream, TestClock } from "effect"
import { it } from "../support/effect.ts"
import { Counter, counter, hooks } from "./Counter.ts"

const roomy = { mailboxCapacity: 16 }

/** Lets forked fibers run up to where they wait. */
const settle = Effect.repeatN(Effect.yieldNow(), 20)

it.effect("an ask gives the answer of its turn, for a prefixed rpc too; a typed error is an answer", () =>
  Effect.gen(function* () {
    const { ref } = yield* Actor.spawn(Counter, counter(), roomy)
    expect(yield* ref.Add({ n: 2 })).toBe(2)
    expect(yield* ref.batch.Add({ n: [1, 2] })).toBe(5)
    expect(yield* Effect.flip(ref.Refuse())).toBe("no")
    expect(yield* ref.Add({ n: 0 })).toBe(5)
  })
)

const LogRpcs = RpcGroup.make(
  Rpc.make("Write", { payload: { sender: Schema.Int, number: Schema.Int }, success: Schema.Int })
)
const Log = Actor.make("log", LogRpcs)

it.effect("10,000 messages of 8 senders, told and asked, run one at a time and in each sender's order", () =>
  Effect.gen(function* () {
    const written: Array<{ sender: number; number: number }> = []
    let running = 0
    const { ref } = yield* Actor.spawn(
      Log,
      Effect.succeed(
        LogRpcs.of({
          Write: (line) =>
            Effect.gen(function* () {
              running += 1
              expect(running).toBe(1)
              if (line.number % 7 === 0) yield* Effect.yieldNow()
              written.push(line)
              running -= 1
              return written.length
            })
        })
      ),
      { mailboxCapacity: 10_000 }
    )
    const send = (sender: number) =>
      Effect.forEach(
        Array.from({ length: 1250 }, (_, number) => number),
        (number) =>
          number % 10 === 9 ? ref.Write({ sender, number }) : ref.Write({ sender, number }, { discard: true }),
        { discard: true }
      )
    yield* Effect.forEach([0, 1, 2, 3, 4, 5, 6, 7], send, { concurrency: "unbounded", discard: true })
    expect(written.length).toBe(10_000)
    for (let sender = 0; sender < 8; sender++) {
      const numbers = written.filter((line) => line.sender === sender).map((line) => line.number)
      expect(numbers).toEqual(Array.from({ length: 1250 }, (_, number) => number))
    }
  })
)

it.effect("forked asks of one sender run in the order they were forked", () =>
  Effect.gen(function* () {
    const written: Array<number> = []
    const build = Effect.succeed(LogRpcs.of({ Write: ({ number }) => Effect.sync(() => written.push(number)) }))
    const { ref } = yield* Actor.spawn(Log, build, { mailboxCapacity: 100 })
    const numbers = Array.from({ length: 100 }, (_, number) => number)
    yield* Effect.forEach(numbers, (number) => ref.Write({ sender: 0, number }), { concurrency: "unbounded" })
    expect(written).toEqual(numbers)
  })
)

it.effect("a full mailbox refuses asks and tells with MailboxFull, runs none of them, and counts them", () =>
  Effect.gen(function* () {
    const { held, release } = yield* hooks
    const { ref } = yield* Actor.spawn(Counter, counter({ held, release }), { mailboxCapacity: 2 })
    const before = yield* figure("weft_actor_rejected_total")
    yield* ref.Hold(undefined, { discard: true })
    yield* Deferred.await(held)
    yield* ref.Add({ n: 1 }, { discard: true })
    yield* ref.Add({ n: 1 }, { discard: true })
    expect(yield* figure("weft_actor_mailbox_depth")).toBe(2)
    const refused = new MailboxFull({ actor: "counter", capacity: 2 })
    expect(yield* Effect.flip(ref.Add({ n: 100 }))).toEqual(refused)
    expect(yield* Effect.flip(ref.Add({ n: 100 }, { discard: true }))).toEqual(refused)
    expect((yield* Effect.exit(Stream.runDrain(ref.Watch())))._tag).toBe("Failure")
    expect(yield* figure("weft_actor_rejected_total")).toBe(before + 3)
    yield* Deferred.succeed(release, undefined)
    yield* settle
    expect(yield* ref.Add({ n: 1 })).toBe(3)
    expect(yield* figure("weft_actor_mailbox_depth")).toBe(0)
  })
)

/** Reads one series of the actor `counter` as a scrape would. */
const figure = (name: "weft_actor_rejected_total" | "weft_actor_mailbox_depth" | "weft_actor_restarts_total") =>
  Effect.promise(async () => {
    const metrics = [ActorMetrics.rejected, ActorMetrics.mailboxDepth, ActorMetrics.restarts]
    const series = await Promise.all(metrics.map((metric) => metric.get()))
    const values = series.find((each) => each.name === name)?.values ?? []
    return values.find((each) => each.labels.actor === "counter")?.value ?? 0
  })

it.effect("a crash gives its caller the defect, keeps queued turns and builds the state anew", () =>
  Effect.gen(function* () {
    const { held, release } = yield* hooks
    const before = yield* figure("weft_actor_restarts_total")
    const { ref } = yield* Actor.spawn(Counter, counter({ held, release }), roomy)
    yield* ref.Add({ n: 7 })
    const holding = yield* Effect.fork(ref.Hold())
    yield* Deferred.await(held)
    const crash = yield* Effect.fork(Effect.exit(ref.Crash()))
    const queued = yield* Effect.fork(ref.Add({ n: 10 }))
    yield* settle
    yield* Deferred.succeed(release, undefined)
    yield* Fiber.join(holding)
    expect(yield* Fiber.join(crash)).toEqual(Exit.die("crash"))
    yield* settle
    expect(queued.unsafePoll()).toBe(null)
    const asked = yield* Effect.fork(ref.Add({ n: 1 }))
    yield* TestClock.adjust("200 millis")
    expect(yield* Fiber.join(queued)).toBe(10)
    expect(yield* Fiber.join(asked)).toBe(11)
    expect(yield* figure("weft_actor_restarts_total")).toBe(before + 1)
  })
)

const ThrowRpcs = RpcGroup.make(Rpc.make("Throw"))

it.effect("a handler that throws crashes like one that dies", () =>
  Effect.gen(function* () {
    const throwing = ThrowRpcs.of({
      Throw: (): Effect.Effect<void> => {
        throw new Error("thrown")
      }
    })
    const { ref } = yield* Actor.spawn(Actor.make("throws", ThrowRpcs), Effect.succeed(throwing), roomy)
    const cause = yield* Effect.flip(Effect.sandbox(ref.Throw()))
    expect(Cause.isDie(cause)).toBe(true)
    expect(String(Cause.squash(cause))).toBe("Error: thrown")
  })
)

it.effect("a first build that fails fails the spawn with its own error", () =>
  Effect.gen(function* () {
    const exit = yield* Effect.exit(Effect.scoped(Actor.spawn(Counter, Effect.fail("no disk"), roomy)))
    expect(exit).toEqual(Exit.fail("no disk"))
  })
)

it.effect("a caller who gives up while it waits is skipped", () =>
  Effect.gen(function* () {
    const { held, release } = yield* hooks
    const { ref } = yield* Actor.spawn(Counter, counter({ held, release }), roomy)
    yield* ref.Hold(undefined, { discard: true })
    yield* Deferred.await(held)
    const queued = yield* Effect.fork(ref.Add({ n: 5 }))
    yield* settle
    expect(Exit.isInterrupted(yield* Fiber.interrupt(queued))).toBe(true)
    yield* Deferred.succeed(release, undefined)
    expect(yield* ref.Add({ n: 1 })).toBe(1)
  })
)

it.effect("a caller who gives up while its turn runs interrupts the turn; the actor goes on with its state", () =>
  Effect.gen(function* () {
    const interrupted = yield* Deferred.make<void>()
    const { held, release } = yield* hooks
    const build = Effect.map(counter({ held, release }), (handlers) =>
      Counter.protocol.of({
        ...handlers,
        Hold: () => Effect.onInterrupt(handlers.Hold(), () => Deferred.succeed(interrupted, undefined))
      })
    )
    const { ref } = yield* Actor.spawn(Counter, build, roomy)
    yield* ref.Add({ n: 3 })
    const running = yield* Effect.fork(ref.Hold())
    yield* Deferred.await(held)
    yield* Fiber.interrupt(running)
    yield* Deferred.await(interrupted)
    expect(yield* ref.Add({ n: 1 })).toBe(4)
  })
)

it.effect("an ask past its deadline fails with AskTimeout and cancels its turn", () =>
  Effect.gen(function* () {
    const { held, release } = yield* hooks
    const { ref } = yield* Actor.spawn(Counter, counter({ held, release }), roomy)
    const asked = yield* Effect.fork(Effect.flip(ask(ref.Hold(), "2 seconds")))
    yield* Deferred.await(held)
    yield* TestClock.adjust("1999 millis")
    expect(asked.unsafePoll()).toBe(null)
    yield* TestClock.adjust("1 millis")
    expect(yield* Fiber.join(asked)).toEqual(new AskTimeout({ deadlineMs: 2000 }))
    expect(yield* ask(ref.Add({ n: 1 }), "2 seconds")).toBe(1)
  })
)

it.effect("Rpc.uninterruptible keeps a running turn from being cancelled, its caller still leaves at once", () =>
  Effect.gen(function* () {
    const { held, release } = yield* hooks
    const build = Effect.map(counter({ held, release }), (handlers) =>
      Counter.protocol.of({ ...handlers, Hold: () => Rpc.uninterruptible(handlers.Hold()) })
    )
    const { ref } = yield* Actor.spawn(Counter, build, roomy)
    const asked = yield* Effect.fork(Effect.flip(ask(ref.Hold(), "1 second")))
    yield* Deferred.await(held)
    yield* TestClock.adjust("1 second")
    expect((yield* Fiber.join(asked))._tag).toBe("AskTimeout")
    const next = yield* Effect.fork(ref.Add({ n: 1 }))
    yield* settle
    expect(next.unsafePoll()).toBe(null)
    yield* Deferred.succeed(release, undefined)
    expect(yield* Fiber.join(next)).toBe(1)
  })
)

it.effect("a stream opens in its turn and flows outside it: the mailbox goes on, in order", () =>
  Effect.gen(function* () {
    const { ref } = yield* Actor.spawn(Counter, counter(), roomy)
    yield* ref.Add({ n: 1 })
    const seen = yield* Mailbox.make<number>()
    yield* Effect.forkScoped(Stream.runForEach(ref.Watch(), (sum) => seen.offer(sum)))
    expect(yield* seen.take).toBe(1)
    expect(yield* ref.Add({ n: 1 })).toBe(2)
    expect(yield* seen.take).toBe(2)
  })
)

const TicksRpcs = RpcGroup.make(
  Rpc.make("Ticks", { success: Schema.Int, error: Schema.String, stream: true }),
  Rpc.make("Boxed", { success: Schema.Int, stream: true }),
  Rpc.make("Ping", { success: Schema.String }),
  Rpc.make("Crash")
)
const Ticks = Actor.make("ticks", TicksRpcs)
const ticks = (made: Ref.Ref<number>, closed: Deferred.Deferred<void>) =>
  Effect.succeed(
    TicksRpcs.of({
      Ticks: () =>
        Stream.repeatEffect(Ref.updateAndGet(made, (n) => n + 1)).pipe(
          Stream.ensuring(Deferred.succeed(closed, undefined))
        ),
      Boxed: () =>
        Effect.gen(function* () {
          const mailbox = yield* Effect.acquireRelease(Mailbox.make<number>(4), () =>
            Deferred.succeed(closed, undefined)
          )
          yield* mailbox.offerAll([1, 2, 3])
          return mailbox
        }),
      Ping: () => Effect.succeed("pong"),
      Crash: () => Effect.die("crash")
    })
  )

it.effect("take(5) stops the source within its buffer", () =>
  Effect.gen(function* () {
    const made = yield* Ref.make(0)
    const closed = yield* Deferred.make<void>()
    const { ref } = yield* Actor.spawn(Ticks, ticks(made, closed), roomy)
    const five = yield* Stream.runCollect(Stream.take(ref.Ticks(), 5))
    expect(Chunk.toReadonlyArray(five)).toEqual([1, 2, 3, 4, 5])
    yield* Deferred.await(closed)
    // The reader takes what is there, at most 16; as many wait in the client's buffer, one is on its way.
    expect(yield* Ref.get(made)).toBeLessThanOrEqual(16 + 16 + 1)
    expect(yield* ref.Ping()).toBe("pong")
  })
)

it.effect("a handler may stream from a mailbox, whose scope lasts as long as the stream", () =>
  Effect.gen(function* () {
    const closed = yield* Deferred.make<void>()
    const { ref } = yield* Actor.spawn(Ticks, ticks(yield* Ref.make(0), closed), roomy)
    const three = yield* Stream.runCollect(Stream.take(ref.Boxed(), 3))
    expect(Chunk.toReadonlyArray(three)).toEqual([1, 2, 3])
    yield* Deferred.await(closed)
  })
)

const GateRpcs = RpcGroup.make(
  Rpc.make("Enter", { success: Schema.String }),
  Rpc.make("Open", { payload: { word: Schema.String } }),
  Rpc.make("Late"),
  Rpc.make("Beside"),
  Rpc.make("Visits", { success: Schema.Int }),
  Rpc.make("Crash")
)
const gate = Effect.gen(function* () {
  const word = yield* Deferred.make<string>()
  let visits = 0
  return GateRpcs.of({
    Enter: () =>
      Effect.suspend(() => {
        visits += 1
        return Actor.answerLater(word)
      }),
    Open: (payload) => Deferred.succeed(word, payload.word),
    Late: () => Actor.answerLater(Effect.die("late")),
    Beside: () => Rpc.fork(Effect.never),
    Visits: () => Effect.sync(() => visits),
    Crash: () => Effect.die("crash")
  })
})

it.effect("a turn may answer later: it ends, a following turn completes the answer", () =>
  Effect.gen(function* () {
    const { ref } = yield* Actor.spawn(Actor.make("gate", GateRpcs), gate, roomy)
    const entering = yield* Effect.fork(ref.Enter())
    const beside = yield* Effect.fork(ref.Beside())
    yield* settle
    expect(yield* ref.Visits()).toBe(1)
    yield* ref.Open({ word: "sesame" })
    expect(yield* Fiber.join(entering)).toBe("sesame")
    yield* Fiber.interrupt(beside)
  })
)

it.effect("a defect after the turn goes to its caller and crashes nothing", () =>
  Effect.gen(function* () {
    const { ref } = yield* Actor.spawn(Actor.make("gate", GateRpcs), gate, roomy)
    yield* ref.Open({ word: "sesame" })
    yield* ref.Enter()
    expect(yield* Effect.exit(ref.Late())).toEqual(Exit.die("late"))
    expect(yield* ref.Visits()).toBe(1)
  })
)

it.effect("a crash cuts the streams and late answers of its life with ActorStopped, not with the crash's defect", () =>
  Effect.gen(function* () {
    const closed = yield* Deferred.make<void>()
    const { ref } = yield* Actor.spawn(Ticks, ticks(yield* Ref.make(0), closed), roomy)
    const first = yield* Deferred.make<void>()
    const watching = yield* Effect.fork(
      Effect.flip(Stream.runForEach(ref.Boxed(), () => Deferred.succeed(first, undefined)))
    )
    yield* Deferred.await(first)
    expect(yield* Effect.exit(ref.Crash())).toEqual(Exit.die("crash"))
    yield* Deferred.await(closed)
    expect(yield* Fiber.join(watching)).toEqual(new ActorStopped({ actor: "ticks", reason: "restarting" }))
    const door = yield* Actor.spawn(Actor.make("gate", GateRpcs), gate, roomy)
    const entering = yield* Effect.fork(Effect.flip(door.ref.Enter()))
    yield* settle
    yield* Effect.exit(door.ref.Crash())
    expect(yield* Fiber.join(entering)).toEqual(new ActorStopped({ actor: "gate", reason: "restarting" }))
  })
)

class Greeting extends Context.Tag("tests/actors/Greeting")<Greeting, string>() {}
class Guest extends Context.Reference<Guest>()("tests/actors/Guest", { defaultValue: () => "nobody" }) {}
const GreetRpcs = RpcGroup.make(Rpc.make("Greet", { success: Schema.String }))

it.effect(
  "a turn uses the actor's services, not the caller's of the same tag; what else the caller has travels with it",
  () =>
    Effect.gen(function* () {
      const greet = GreetRpcs.of({
        Greet: () => Effect.zipWith(Greeting, Guest, (greeting, guest) => `${greeting} ${guest}`)
      })
      const { ref } = yield* Effect.provideService(
        Actor.spawn(Actor.make("greeter", GreetRpcs), Effect.succeed(greet), roomy),
        Greeting,
        "hello"
      )
      const answer = ref.Greet().pipe(Effect.provideService(Greeting, "spoof"), Effect.provideService(Guest, "Ada"))
      expect(yield* answer).toBe("hello Ada")
    })
)
