/**
 * The root of a program: runs it until it is done or told to stop, says in one line what went wrong, and exits with a
 * code that scripts can rely on. The first SIGINT or SIGTERM interrupts the program, whose scopes then drain; a later
 * one ends it at once.
 */
import "./internal/pureMsgpack.ts"
import { BunContext, BunRuntime } from "@effect/platform-bun"
import { Cause, Console, Effect, Exit, Option } from "effect"

/**
 * Represents how a program's failures are told.
 *
 * @category models
 */
export interface ProgramOptions {
  /** Stands before what is printed, e.g. `peer`. */
  readonly name: string
  /** The exit code of a failure: 1 unless this says otherwise. */
  readonly exitCodeOf?: (failure: unknown) => number | undefined
  /** Failures about which everything was printed already. */
  readonly isTold?: (failure: unknown) => boolean
}

/**
 * One press of Ctrl-C can come twice: from the terminal, and from `bun run`, which passes it on. People who press twice
 * take longer than this.
 */
const samePressMs = 300

/** The code of a shell for a program that SIGINT ended. */
const exitCodeOfSecondSignal = 130

/**
 * Runs `program` as the process. A wanted stop and success exit with 0.
 *
 * @category constructors
 */
export const run = <E>(program: Effect.Effect<unknown, E, BunContext.BunContext>, options: ProgramOptions): void =>
  BunRuntime.runMain(
    program.pipe(
      Effect.provide(BunContext.layer),
      (body) => Effect.zipRight(endOnSecondSignal, body),
      Effect.tapErrorCause((cause) => tell(cause, options))
    ),
    {
      disableErrorReporting: true,
      disablePrettyLogger: true,
      teardown: (exit, onExit) => onExit(exitCode(exit, options))
    }
  )

// internal

const tell = (cause: Cause.Cause<unknown>, { isTold, name }: ProgramOptions): Effect.Effect<void> =>
  Option.match(Cause.failureOption(cause), {
    onNone: () => (Cause.isInterruptedOnly(cause) ? Effect.void : Console.error(Cause.pretty(cause))),
    onSome: (failure) =>
      isTold?.(failure) === true
        ? Effect.void
        : Console.error(`${name}: ${failure instanceof Error ? failure.message : String(failure)}`)
  })

const exitCode = (exit: Exit.Exit<unknown, unknown>, { exitCodeOf }: ProgramOptions): number => {
  if (Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause)) return 0
  return Option.getOrUndefined(Option.map(Cause.failureOption(exit.cause), (failure) => exitCodeOf?.(failure))) ?? 1
}

/** Bun's runtime takes the first signal and lets the next one kill; what comes with the same press must not. */
const endOnSecondSignal = Effect.gen(function* () {
  const clock = yield* Effect.clock
  let firstMs: number | undefined
  const onSignal = (): void => {
    const nowMs = clock.unsafeCurrentTimeMillis()
    firstMs ??= nowMs
    if (nowMs - firstMs > samePressMs) process.exit(exitCodeOfSecondSignal)
  }
  process.on("SIGINT", onSignal)
  process.on("SIGTERM", onSignal)
})
