/**
 * Random senders, crashes, cancels and full mailboxes, one run per seed: no sender's messages are reordered, none runs
 * twice, none that was acknowledged is lost. `WEFT_SEED=<seed>` repeats the run that failed.
 */
import { expect } from "bun:test"
import { Rpc, RpcGroup } from "@effect/rpc"
import * as Actor from "@weft/actors/Actor"
import * as Supervision from "@weft/actors/Supervision"
import { Clock, Config, Duration, Effect, Fiber, Option, Random, Schema } from "effect"
import { it } from "../support/effect.ts"

/**
 * A clock without time: a sleep lasts one round of the scheduler for each 10 ms, so a seed always gives the same run.
 */
const rounds: Clock.Clock = {
  [Clock.ClockTypeId]: Clock.ClockTypeId,
  unsafeCurrentTimeMillis: () => 0,
  currentTimeMillis: Effect.succeed(0),
  unsafeCurrentTimeNanos: () => 0n,
  currentTimeNanos: Effect.succeed(0n),
  sleep: (duration) => Effect.repeatN(Effect.yieldNow(), Math.ceil(Duration.toMillis(duration) / 10))
}

const seeds = 300
const senders = 4
const messagesEach = 16

const StepRpcs = RpcGroup.make(
  Rpc.make("Step", {
    payload: { sender: Schema.Int, number: Schema.Int, naps: Schema.Int, crash: Schema.Boolean },
    success: Schema.Int
  })
)
const Step = Actor.make("step", StepRpcs)

interface Line {
  readonly sender: number
  readonly number: number
  readonly life: number
}

/** What one run left behind: turns that began, and what each sender was told. */
interface Trace {
  readonly began: Array<Line>
  readonly acknowledged: Array<Line>
  readonly rejected: Array<Omit<Line, "life">>
  /** Most turns that ran at the same time. */
  together: number
}

const actor = (trace: Trace) => {
  let lives = 0
  return Effect.sync(() => {
    const life = ++lives
    let running = 0
    return StepRpcs.of({
      Step: ({ crash, naps, number, sender }) =>
        Effect.gen(function* () {
          running += 1
          trace.together = Math.max(trace.together, running)
          trace.began.push({ sender, number, life })
          yield* Effect.repeatN(Effect.yieldNow(), naps)
          if (crash) return yield* Effect.die("crash")
          return life
        }).pipe(Effect.ensuring(Effect.sync(() => (running -= 1))))
    })
  })
}

/** Sends numbered messages: asks, forked asks, tells and asks that are given up, with pauses in between. */
const sender = Effect.fnUntraced(function* (ref: Actor.Spawned<StepOf>["ref"], id: number, trace: Trace) {
  const flying: Array<Fiber.Fiber<void>> = []
  for (let number = 0; number < messagesEach; number++) {
    const naps = yield* Random.nextIntBetween(0, 8)
    const crash = (yield* Random.next) < 0.05
    const message = { sender: id, number, naps, crash }
    const asked = ref.Step(message).pipe(
      Effect.tap((life) => trace.acknowledged.push({ sender: id, number, life })),
      Effect.asVoid,
      Effect.catchTag("MailboxFull", () => Effect.sync(() => void trace.rejected.push({ sender: id, number }))),
      Effect.catchAllCause(() => Effect.void)
    )
    const way = yield* Random.nextIntBetween(0, 4)
    if (way === 0) yield* asked
    if (way === 1) flying.push(yield* Effect.fork(asked))
    if (way === 2) {
      yield* ref.Step(message, { discard: true }).pipe(
        Effect.catchTag("MailboxFull", () => Effect.sync(() => void trace.rejected.push({ sender: id, number }))),
        Effect.catchAll(() => Effect.void)
      )
    }
    if (way === 3) {
      const given = yield* Effect.fork(asked)
      yield* Effect.repeatN(Effect.yieldNow(), yield* Random.nextIntBetween(1, 12))
      yield* Fiber.interrupt(given)
    }
    // A forked ask is sent when its fiber first runs: before the sender goes on.
    yield* Effect.yieldNow()
    if ((yield* Random.next) < 0.2) yield* Effect.sleep(yield* Random.nextIntBetween(1, 500))
  }
  yield* Fiber.joinAll(flying)
})
type StepOf = typeof Step extends Actor.Actor<infer Rpcs> ? Rpcs : never

const check = (trace: Trace) => {
  expect(trace.together).toBe(1)
  const key = (line: Omit<Line, "life">) => `${line.sender}:${line.number}`
  const began = trace.began.map(key)
  expect(new Set(began).size).toBe(began.length)
  for (let id = 0; id < senders; id++) {
    const numbers = trace.began.filter((line) => line.sender === id).map((line) => line.number)
    expect(numbers).toEqual(numbers.toSorted((a, b) => a - b))
  }
  const lives = new Map(trace.began.map((line) => [key(line), line.life]))
  for (const line of trace.acknowledged) expect(lives.get(key(line))).toBe(line.life)
  for (const line of trace.rejected) expect(lives.has(key(line))).toBe(false)
}

const run = (seed: number) =>
  Effect.gen(function* () {
    const trace: Trace = { began: [], acknowledged: [], rejected: [], together: 0 }
    const mailboxCapacity = yield* Random.nextIntBetween(3, 40)
    const unlimited = { name: "step", strategy: "one_for_one", restarts: { intensity: 1000 } } as const
    const { ref } = yield* Effect.provideServiceEffect(
      Actor.spawn(Step, actor(trace), { mailboxCapacity }),
      Supervision.CurrentSupervisor,
      Effect.map(Supervision.make(unlimited), Option.some)
    )
    yield* Effect.forEach([0, 1, 2, 3], (id) => sender(ref, id, trace), { concurrency: "unbounded", discard: true })
    check(trace)
    return trace
  }).pipe(Effect.scoped, Effect.withRandom(Random.make(seed)), Effect.withClock(rounds))

it.effect(
  `${seeds} seeds of random sends, crashes and cancels: nothing reordered, doubled, overlapped or lost`,
  () =>
    Effect.gen(function* () {
      const only = yield* Effect.orDie(Config.option(Config.integer("WEFT_SEED")))
      const total = { began: 0, acknowledged: 0, rejected: 0, lives: 0 }
      for (const seed of Option.match(only, {
        onNone: () => Array.from({ length: seeds }, (_, n) => n),
        onSome: (n) => [n]
      })) {
        const trace = yield* Effect.tapErrorCause(run(seed), () => Effect.logError(`repeat with WEFT_SEED=${seed}`))
        total.began += trace.began.length
        total.acknowledged += trace.acknowledged.length
        total.rejected += trace.rejected.length
        total.lives += Math.max(...trace.began.map((line) => line.life))
      }
      // The runs meet what they are about: crashes, refusals, turns whose caller had left.
      expect(total.lives).toBeGreaterThan(Option.isSome(only) ? 0 : seeds)
      expect(total.rejected).toBeGreaterThan(Option.isSome(only) ? -1 : 0)
      expect(total.began).toBeGreaterThan(total.acknowledged)
      yield* Effect.logInfo(JSON.stringify(total))
    }),
  300_000
)
