/**
 * `bun:test` for Effect programs: `it.effect` runs on the test clock, `it.live` on the real one (sockets, processes),
 * `it.prop` feeds generated values. Each body is scoped; logs are kept back and printed only when the test fails.
 */
import { test } from "bun:test"
import {
  Cause,
  Effect,
  Exit,
  FastCheck,
  Logger,
  ManagedRuntime,
  Runtime,
  type Scope,
  TestClock,
  TestContext
} from "effect"

type Body<E> = Effect.Effect<unknown, E, Scope.Scope>

/**
 * Longest run of one test in milliseconds, unless it names its own. It only ends what hangs: on a machine whose
 * processors are lent to others a test that starts five processes takes 18 s.
 */
const timeoutMsDefault = 60_000

/** Runs `body` on `runtime`; a failure throws its first pretty error, and what was logged on the way is printed. */
const run = async <E>(body: Effect.Effect<unknown, E>, runtime = Runtime.defaultRuntime): Promise<void> => {
  const lines: Array<string> = []
  const kept = Logger.map(Logger.logfmtLogger, (line) => void lines.push(line))
  const logged = Effect.provide(body, Logger.replace(Logger.defaultLogger, kept))
  const exit = await Runtime.runPromiseExit(runtime, logged)
  if (Exit.isSuccess(exit)) return
  for (const line of lines.slice(-100)) console.error(line)
  throw Cause.prettyErrors(exit.cause)[0] ?? new Error(Cause.pretty(exit.cause))
}

const effect = <E>(name: string, body: () => Body<E>, timeoutMs = timeoutMsDefault): void =>
  test(name, () => run(Effect.provide(Effect.scoped(Effect.suspend(body)), TestContext.TestContext)), timeoutMs)

const live = <E>(name: string, body: () => Body<E>, timeoutMs = timeoutMsDefault): void =>
  test(name, () => run(Effect.scoped(Effect.suspend(body))), timeoutMs)

/**
 * Runs `body` on `runs` generated values; a failure prints the seed and path that repeat it. The values share one test
 * context, whose making takes longer than most bodies; each has a scope of its own and a clock that stands at 0.
 */
const prop = <A, E>(
  name: string,
  arbitrary: FastCheck.Arbitrary<A>,
  body: (value: A) => Body<E>,
  options: { readonly runs?: number; readonly seed?: number; readonly timeoutMs?: number } = {}
): void =>
  test(
    name,
    async () => {
      const context = ManagedRuntime.make(TestContext.TestContext)
      const runtime = await context.runtime()
      const resetClock = Runtime.runSync(runtime, TestClock.save())
      const property = FastCheck.asyncProperty(arbitrary, (value) =>
        run(Effect.zipRight(resetClock, Effect.scoped(Effect.suspend(() => body(value)))), runtime)
      )
      const seed = options.seed === undefined ? {} : { seed: options.seed }
      await FastCheck.assert(property, { numRuns: options.runs ?? 100, ...seed }).finally(() => context.dispose())
    },
    options.timeoutMs ?? timeoutMsDefault
  )

/** Test functions for Effect programs. */
export const it = { effect, live, prop } as const
