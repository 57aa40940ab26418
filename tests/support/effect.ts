/**
 * `bun:test` for Effect programs: `it.effect` runs on the test clock, `it.live` on the real one (sockets, processes),
 * `it.prop` feeds generated values. Each body is scoped; logs are kept back and printed only when the test fails.
 */
import { test } from "bun:test"
import { Cause, Effect, Exit, FastCheck, Logger, type Scope, TestContext } from "effect"

type Body<E> = Effect.Effect<unknown, E, Scope.Scope>

/** Longest run of one test in milliseconds, unless it names its own. */
const timeoutMsDefault = 20_000

/** Runs `body`, throws the first pretty error of a failure, and prints what was logged on the way to it. */
const run = async <E>(body: Effect.Effect<unknown, E>): Promise<void> => {
  const lines: Array<string> = []
  const kept = Logger.map(Logger.logfmtLogger, (line) => void lines.push(line))
  const exit = await Effect.runPromiseExit(Effect.provide(body, Logger.replace(Logger.defaultLogger, kept)))
  if (Exit.isSuccess(exit)) return
  for (const line of lines.slice(-100)) console.error(line)
  throw Cause.prettyErrors(exit.cause)[0] ?? new Error(Cause.pretty(exit.cause))
}

const effect = <E>(name: string, body: () => Body<E>, timeoutMs = timeoutMsDefault): void =>
  test(name, () => run(Effect.provide(Effect.scoped(Effect.suspend(body)), TestContext.TestContext)), timeoutMs)

const live = <E>(name: string, body: () => Body<E>, timeoutMs = timeoutMsDefault): void =>
  test(name, () => run(Effect.scoped(Effect.suspend(body))), timeoutMs)

/** Runs `body` on `runs` generated values; a failure prints the seed and path that repeat it. */
const prop = <A, E>(
  name: string,
  arbitrary: FastCheck.Arbitrary<A>,
  body: (value: A) => Body<E>,
  options: { readonly runs?: number; readonly seed?: number; readonly timeoutMs?: number } = {}
): void =>
  test(
    name,
    () =>
      FastCheck.assert(
        FastCheck.asyncProperty(arbitrary, (value) =>
          run(Effect.provide(Effect.scoped(body(value)), TestContext.TestContext))
        ),
        { numRuns: options.runs ?? 100, ...(options.seed === undefined ? {} : { seed: options.seed }) }
      ),
    options.timeoutMs ?? timeoutMsDefault
  )

/** Test functions for Effect programs. */
export const it = { effect, live, prop } as const
