/**
 * Children made on demand, one for each key: a request's, a peer's, a stage's. Each is supervised on its own, ends by
 * itself or with the scope, and leaves its key free when it ended.
 */
import {
  Cause,
  Data,
  Deferred,
  Effect,
  Exit,
  Fiber,
  FiberId,
  FiberMap,
  MutableHashMap,
  Option,
  type Scope
} from "effect"
import type { ChildFailed } from "./ChildFailed.ts"
import { CurrentSupervisor } from "./Supervision.ts"

/**
 * Represents a child that was not started, as `capacity` of its kind live.
 *
 * @category errors
 */
export class KeyedFull extends Data.TaggedError("KeyedFull")<{
  readonly capacity: number
}> {
  override get message(): string {
    return `${this.capacity} children live, which is the bound: wait for one to end`
  }
}

/**
 * Represents the children of one kind.
 *
 * @category models
 */
export interface Keyed<K, A, E> {
  /**
   * Returns the child of the key, started if missing: callers that come at once share one start, and its failure. Waits
   * for a child that is ending and starts its successor then.
   */
  readonly get: (key: K) => Effect.Effect<A, E | KeyedFull>
  /** Returns the child of the key if it runs. */
  readonly find: (key: K) => Effect.Effect<Option.Option<A>>
  /** Stops the child of the key if there is one, and completes when it ended. */
  readonly stop: (key: K) => Effect.Effect<void>
  /** Keys of the children that start, run or end now, in no order. */
  readonly keys: Effect.Effect<ReadonlyArray<K>>
  /** Fails with the first `ChildFailed`; who bears a lost child does not look. */
  readonly join: Effect.Effect<void, ChildFailed>
}

/**
 * Makes an empty set of children that live at most as long as the scope. `start` runs in a scope of the child's own,
 * which closes when `join` completes; keys are compared by `Equal`.
 *
 * @category constructors
 */
export const make = Effect.fnUntraced(function* <
  K,
  A extends { readonly join: Effect.Effect<void, ChildFailed> },
  E,
  R
>(options: {
  readonly start: (key: K) => Effect.Effect<A, E, R>
  /** Children at once. */
  readonly capacity: number
}): Effect.fn.Return<Keyed<K, A, E>, never, Exclude<R, Scope.Scope> | Scope.Scope> {
  // Says which keys are taken: a key is free again when its fiber has exited.
  const fibers = yield* FiberMap.make<K, void, ChildFailed>()
  const starts = MutableHashMap.empty<K, Start<A, E>>()
  const context = yield* Effect.context<Exclude<R, Scope.Scope>>()

  const live = (key: K, start: Start<A, E>): Effect.Effect<void, ChildFailed> =>
    options.start(key).pipe(
      // A child's failures are its own: it is no sibling of whoever made the set.
      Effect.provideService(CurrentSupervisor, Option.none()),
      Effect.onExit((exit) => Deferred.done(start.child, settle(exit))),
      Effect.matchCauseEffect({
        // Whoever asked for the start got its failure.
        onFailure: () => Effect.void,
        onSuccess: (child) => child.join
      }),
      Effect.ensuring(Effect.sync(() => MutableHashMap.remove(starts, key))),
      Effect.scoped,
      Effect.tapError((error) => Effect.logWarning("keyed child is lost", error)),
      Effect.provide(context)
    )

  const ended = (key: K): Effect.Effect<void> =>
    Effect.suspend(() =>
      Option.match(FiberMap.unsafeGet(fibers, key), { onNone: () => Effect.void, onSome: Fiber.await })
    )

  const get = (key: K): Effect.Effect<A, E | KeyedFull> =>
    Effect.suspend(() => {
      const current = MutableHashMap.get(starts, key)
      if (Option.isSome(current)) return child(key, current.value)
      if (FiberMap.unsafeHas(fibers, key)) return Effect.zipRight(ended(key), get(key))
      if (MutableHashMap.size(starts) >= options.capacity) return new KeyedFull({ capacity: options.capacity })
      const start: Start<A, E> = { child: Deferred.unsafeMake(FiberId.none) }
      MutableHashMap.set(starts, key, start)
      const run = FiberMap.run(fibers, key, live(key, start), { onlyIfMissing: true })
      return Effect.zipRight(Effect.uninterruptible(run), child(key, start))
    })

  const child = (key: K, start: Start<A, E>): Effect.Effect<A, E | KeyedFull> =>
    Effect.flatMap(
      Deferred.await(start.child),
      Option.match({ onNone: () => Effect.zipRight(ended(key), get(key)), onSome: Effect.succeed })
    )

  return {
    get,
    find: (key) =>
      Effect.suspend(() =>
        Option.match(MutableHashMap.get(starts, key), { onNone: () => Effect.succeedNone, onSome: ifStarted })
      ),
    stop: (key) =>
      Effect.suspend(() =>
        Option.match(FiberMap.unsafeGet(fibers, key), { onNone: () => Effect.void, onSome: Fiber.interrupt })
      ),
    keys: Effect.sync(() => Array.from(fibers, ([key]) => key)),
    join: FiberMap.join(fibers)
  }
})

// internal

interface Start<A, E> {
  /** The child once it started; none when it was stopped before. */
  readonly child: Deferred.Deferred<Option.Option<A>, E>
}

/** Returns the child unless it still starts or failed to. */
const ifStarted = <A, E>(start: Start<A, E>): Effect.Effect<Option.Option<A>> =>
  Effect.flatMap(
    Deferred.poll(start.child),
    Option.match({ onNone: () => Effect.succeedNone, onSome: Effect.orElseSucceed(Option.none) })
  )

const settle = <A, E>(exit: Exit.Exit<A, E>): Exit.Exit<Option.Option<A>, E> =>
  Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause)
    ? Exit.succeed(Option.none())
    : Exit.map(exit, Option.some)
