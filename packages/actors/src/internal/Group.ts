/**
 * One supervisor at work: its entries in start order, their lives, and the loop over the ends of lives.
 * `Supervision.ts` owns it and says what it promises.
 */
import { Cause, Clock, Deferred, Duration, Effect, Exit, Fiber, Mailbox, Option, Scope, Stream } from "effect"
import { ChildFailed } from "../ChildFailed.ts"
import { affected, decide, type RestartPolicy, type RestartType, type Strategy, startsAgain } from "../RestartPolicy.ts"
import { endWithin } from "./endWithin.ts"

/** One run of a child from start to end. */
interface Life {
  readonly scope: Scope.CloseableScope
  readonly fiber: Fiber.RuntimeFiber<unknown, unknown>
  /** The start is done: from here on the end is for the strategy, before for whoever asked for the start. */
  begun: boolean
  /** The supervisor itself ends this life, so its end is no event. */
  stopping: boolean
  running: boolean
}

/** Represents one child on the list, across its lives. */
export interface Entry {
  readonly name: string
  readonly restart: RestartType
  readonly shutdown: Duration.Duration
  /** The child's start and body with everything provided; `begun` is called between them. */
  readonly run: (begun: Effect.Effect<void>) => Effect.Effect<unknown, unknown>
  readonly onRetire: Effect.Effect<void>
  readonly over: Deferred.Deferred<void, ChildFailed>
  /** The latest life. */
  life: Life | undefined
  retired: boolean
}

/** Represents the end of a life that nobody asked for. */
export interface Ended {
  readonly entry: Entry
  readonly life: Life
  readonly exit: Exit.Exit<unknown, unknown>
}

/** Represents one supervisor's list and what it remembers. */
export interface Group {
  readonly name: string
  readonly strategy: Strategy
  readonly policy: RestartPolicy
  /** In start order. */
  readonly entries: Array<Entry>
  readonly ended: Mailbox.Mailbox<Ended>
  readonly over: Deferred.Deferred<void, ChildFailed>
  restartsAtMs: ReadonlyArray<number>
}

/** Starts a life unless one runs; returns why it could not begin. */
export const begin = (group: Group, entry: Entry): Effect.Effect<Exit.Exit<void, unknown>> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      if (entry.retired || entry.life?.running) return Exit.void
      const begun = yield* Deferred.make<void, unknown>()
      const scope = yield* Scope.make()
      const markBegun = Effect.suspend(() => {
        life.begun = true
        return Effect.asVoid(Deferred.succeed(begun, undefined))
      })
      const fiber = yield* entry.run(markBegun).pipe(
        Effect.onError((cause) => Deferred.failCause(begun, cause)),
        Effect.interruptible,
        Effect.forkIn(scope)
      )
      const life: Life = { scope, fiber, begun: false, stopping: false, running: true }
      entry.life = life
      fiber.addObserver((exit) => {
        life.running = false
        if (life.begun && !life.stopping) group.ended.unsafeOffer({ entry, life, exit })
      })
      return yield* restore(Effect.exit(Deferred.await(begun)))
    })
  )

/** Ends the latest life within the child's bound; a second caller waits for the same end. */
const stop = (entry: Entry): Effect.Effect<void> =>
  Effect.suspend(() => {
    const life = entry.life
    if (life === undefined) return Effect.void
    life.stopping = true
    const ended = Effect.zipRight(Scope.close(life.scope, Exit.void), Fiber.await(life.fiber))
    return Effect.flatMap(endWithin(ended, entry.shutdown), (finished) => {
      life.running = false
      return finished ? Effect.void : Effect.logWarning(`'${entry.name}' overran its shutdown bound and is left behind`)
    })
  })

const stopAll = (entries: ReadonlyArray<Entry>): Effect.Effect<void> =>
  Effect.forEach(entries.toReversed(), stop, { discard: true })

const retire = (entry: Entry): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (entry.retired) return Effect.void
    entry.retired = true
    return entry.onRetire
  })

/** Tells every child, last first, that no other life will follow. */
export const retireAll = (group: Group): Effect.Effect<void> =>
  Effect.suspend(() => Effect.forEach(group.entries.toReversed(), retire, { discard: true }))

/** Takes one child down for good. */
export const end = (group: Group, entry: Entry, exit: Exit.Exit<void, ChildFailed>): Effect.Effect<void> =>
  Effect.gen(function* () {
    yield* retire(entry)
    yield* stop(entry)
    const index = group.entries.indexOf(entry)
    if (index !== -1) group.entries.splice(index, 1)
    yield* Deferred.done(entry.over, exit)
  })

/** Takes every child down for good. */
export const endAll = (group: Group, exit: Exit.Exit<void, ChildFailed>): Effect.Effect<void> =>
  Effect.gen(function* () {
    yield* retireAll(group)
    yield* Effect.forEach(group.entries.toReversed(), (entry) => end(group, entry, exit), { discard: true })
    yield* Deferred.done(group.over, exit)
  })

/** A nested supervisor's life begins: its children start, and stop when the life ends. */
export const beginAgain = (group: Group): Effect.Effect<void, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    yield* Effect.addFinalizer(() => stopAll(group.entries))
    yield* group.ended.clear
    group.restartsAtMs = []
    const failed = yield* beginAll(group, group.entries)
    if (Option.isSome(failed)) return yield* Effect.failCause(failed.value.cause)
  })

/** Starts children in order up to the first that cannot begin. */
const beginAll = (group: Group, entries: ReadonlyArray<Entry>) =>
  Effect.gen(function* () {
    for (const entry of [...entries]) {
      const begun = yield* begin(group, entry)
      // Retired while it began: that was its interruption, no failure.
      if (Exit.isFailure(begun) && !entry.retired) return Option.some({ entry, cause: begun.cause })
    }
    return Option.none()
  })

/** Handles ends for ever; fails when the failure goes upward. Children on their own need not wait for one another. */
export const watch = (group: Group): Effect.Effect<void, ChildFailed> => {
  const concurrency = group.strategy === "one_for_one" ? "unbounded" : 1
  const ends = Mailbox.toStream(group.ended)
  return Stream.runDrain(Stream.mapEffect(ends, (ended) => onEnded(group, ended), { concurrency, unordered: true }))
}

const onEnded = (group: Group, { entry, exit, life }: Ended): Effect.Effect<void, ChildFailed> => {
  if (entry.retired || entry.life !== life || life.stopping) return Effect.void
  const cause = Exit.isFailure(exit) ? Option.some(exit.cause) : Option.none()
  if (startsAgain(entry.restart, exit))
    return restart(
      group,
      entry,
      Option.getOrElse(cause, () => Cause.empty)
    )
  const failed = Option.filter(cause, (cause) => !Cause.isInterruptedOnly(cause))
  return end(
    group,
    entry,
    Option.match(failed, {
      onNone: () => Exit.void,
      onSome: (cause) => Exit.fail(failure(group, entry, 0, cause))
    })
  )
}

/** Stops, waits and starts what the strategy says, again if a start fails, until all run or the policy is used up. */
const restart = (group: Group, entry: Entry, cause: Cause.Cause<unknown>): Effect.Effect<void, ChildFailed> =>
  Effect.gen(function* () {
    let failed = { entry, cause }
    while (true) {
      const decision = decide(group.policy, group.restartsAtMs, yield* Clock.currentTimeMillis)
      if (decision._tag === "Escalate") {
        return yield* failure(group, failed.entry, decision.restarts, failed.cause)
      }
      group.restartsAtMs = decision.restartsAtMs
      const delayMs = Duration.toMillis(decision.delay)
      yield* Effect.logWarning(`'${failed.entry.name}' failed; starts again in ${delayMs} ms`, failed.cause)
      const entries = affected(group.strategy, [...group.entries], failed.entry)
      yield* stopAll(entries)
      const temporary = entries.filter((entry) => entry.restart === "temporary")
      yield* Effect.forEach(temporary, (entry) => end(group, entry, Exit.void), { discard: true })
      yield* Effect.sleep(decision.delay)
      const next = yield* beginAll(group, entries)
      if (Option.isNone(next)) return
      failed = next.value
    }
  })

const failure = (group: Group, entry: Entry, restarts: number, cause: Cause.Cause<unknown>): ChildFailed =>
  new ChildFailed({ supervisor: group.name, child: entry.name, restarts, cause })
