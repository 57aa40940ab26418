/**
 * Supervisors: they start children in listed order, start failed ones again as their strategy says, stop them in
 * reverse order, and escalate when failures come too fast. A supervisor belongs to the scope it is made in, a child
 * to the scope it is supervised in; so the layer graph is the supervision tree. A supervisor made where
 * `CurrentSupervisor` is set is a child of that one.
 *
 *   child ends → `Ended` in the mailbox → pure decision → stop (reverse), wait, start (in order) | escalate upward
 */
import { type Cause, Context, Deferred, Duration, Effect, Exit, Layer, Mailbox, Option, type Scope } from "effect"
import type { ChildFailed } from "./ChildFailed.ts"
import {
  begin,
  beginAgain,
  type Ended,
  type Entry,
  end,
  endAll,
  type Group,
  retireAll,
  watch
} from "./internal/Group.ts"
import { defaults, type RestartPolicy, type RestartType, type Strategy } from "./RestartPolicy.ts"

/** OTP's default for a worker: long enough to finish one turn, short enough for an operator who waits. */
const shutdownDefault = Duration.seconds(5)

/** Children of one supervisor: many more than a program lists by hand; what is made on demand belongs in `Keyed`. */
const childrenMax = 1024

/**
 * Represents what a supervisor starts, and starts again.
 *
 * @category models
 */
export interface Child<E, R> {
  /** For logs and errors. */
  readonly name: string
  /**
   * Begins one life: acquires in the life's scope what the child needs and returns its body. The next child starts only
   * then. Whatever it supervises itself is its own: it sees no `CurrentSupervisor`.
   */
  readonly start: Effect.Effect<Effect.Effect<unknown, unknown, R>, E, R | Scope.Scope>
  /**
   * `permanent` unless said otherwise. A child that ended for good is off the list: no strategy starts it again; and a
   * temporary one that is stopped with its siblings stays down.
   */
  readonly restart?: RestartType
  /**
   * How long the end of a life may take, its finalizers included; then nobody waits for it. 5 s unless said
   * otherwise.
   */
  readonly shutdown?: Duration.DurationInput
  /** Runs once, before the last life is stopped, when it is known that no other will follow. */
  readonly onRetire?: Effect.Effect<void>
}

/**
 * Represents a child under supervision.
 *
 * @category models
 */
export interface Supervised {
  /**
   * Completes when the child ended for good: cleanly, or with `ChildFailed` of it or of a sibling that took it down.
   */
  readonly join: Effect.Effect<void, ChildFailed>
}

/**
 * Represents a supervisor.
 *
 * @category models
 */
export interface Supervisor {
  readonly name: string
  /**
   * Starts a child as the last of the list. Fails when its first start fails; later failures go to the strategy.
   * Closing the scope stops the child within its bound and takes it off the list.
   */
  readonly supervise: <E, R>(child: Child<E, R>) => Effect.Effect<Supervised, E, Exclude<R, Scope.Scope> | Scope.Scope>
  /** Fails with `ChildFailed` when this supervisor (or the one above it) gave up; completes when it was stopped. */
  readonly join: Effect.Effect<void, ChildFailed>
}

/**
 * Holds the supervisor under which `spawn` and `make` put what they start; none by default, then each actor has one of
 * its own.
 *
 * @category models
 */
export class CurrentSupervisor extends Context.Reference<CurrentSupervisor>()("@weft/actors/CurrentSupervisor", {
  defaultValue: (): Option.Option<Supervisor> => Option.none()
}) {}

/**
 * Represents how a supervisor is made; `restarts` fills in from `RestartPolicy.defaults`.
 *
 * @category models
 */
export interface SupervisorOptions {
  readonly name: string
  readonly strategy: Strategy
  readonly restarts?: Partial<RestartPolicy>
}

/**
 * Makes a supervisor that lives as long as the scope; closing it stops the children that are left, in reverse order.
 *
 * @category constructors
 */
export const make = Effect.fnUntraced(function* (
  options: SupervisorOptions
): Effect.fn.Return<Supervisor, never, Scope.Scope> {
  const group: Group = {
    name: options.name,
    strategy: options.strategy,
    policy: { ...defaults, ...options.restarts },
    entries: [],
    // Holds at most one end per entry: an entry that ended does not run until its end was handled.
    ended: yield* Mailbox.make<Ended>(),
    over: yield* Deferred.make<void, ChildFailed>(),
    restartsAtMs: []
  }
  const parent = yield* CurrentSupervisor
  if (Option.isSome(parent)) {
    const { join } = yield* parent.value.supervise({
      name: options.name,
      start: Effect.as(Effect.orDie(beginAgain(group)), watch(group)),
      // Every child has a bound of its own, so their sum is one too.
      shutdown: Duration.infinity,
      onRetire: retireAll(group)
    })
    return { name: options.name, join, supervise: supervise(group, join) }
  }
  yield* Effect.addFinalizer(() => endAll(group, Exit.void))
  yield* watch(group).pipe(
    Effect.catchAll((error) =>
      Effect.zipRight(Effect.logError("supervisor gave up", error), endAll(group, Exit.fail(error)))
    ),
    Effect.annotateLogs({ supervisor: options.name }),
    Effect.forkScoped
  )
  const join = Deferred.await(group.over)
  return { name: options.name, join, supervise: supervise(group, join) }
})

/**
 * Provides a supervisor to the actors of the layers above it.
 *
 * @category layers
 */
export const layer = (options: SupervisorOptions): Layer.Layer<CurrentSupervisor> =>
  Layer.scoped(CurrentSupervisor, Effect.map(make(options), Option.some))

/**
 * Runs a program's layers under a supervisor of its own, for ever; fails with `ChildFailed` when that gives up, after
 * all layers were released.
 *
 * @category layers
 */
export const launch = <A, E, R>(
  app: Layer.Layer<A, E, R>,
  options: SupervisorOptions
): Effect.Effect<never, E | ChildFailed, Exclude<R, CurrentSupervisor>> =>
  make(options).pipe(
    Effect.flatMap((supervisor) =>
      Layer.launch(Layer.provide(app, Layer.succeed(CurrentSupervisor, Option.some(supervisor)))).pipe(
        Effect.raceFirst(Effect.zipRight(supervisor.join, Effect.never))
      )
    ),
    Effect.scoped
  )

// internal

const supervise = (group: Group, groupJoin: Effect.Effect<void, ChildFailed>) =>
  Effect.fnUntraced(function* <E, R>(
    child: Child<E, R>
  ): Effect.fn.Return<Supervised, E, Exclude<R, Scope.Scope> | Scope.Scope> {
    if (group.entries.length >= childrenMax) {
      return yield* Effect.dieMessage(`supervisor '${group.name}' has ${childrenMax} children: use Keyed for more`)
    }
    if (yield* Deferred.isDone(group.over)) {
      return yield* Effect.dieMessage(`supervisor '${group.name}' has ended: it takes no child`)
    }
    const context = Context.add(
      yield* Effect.context<Exclude<R, Scope.Scope> | Scope.Scope>(),
      CurrentSupervisor,
      Option.none()
    )
    const annotations = Object.fromEntries(yield* Effect.logAnnotations)
    const entry: Entry = {
      name: child.name,
      restart: child.restart ?? "permanent",
      shutdown: Duration.decode(child.shutdown ?? shutdownDefault),
      run: (begun) =>
        Effect.flatMap(child.start, (body) => Effect.zipRight(begun, body)).pipe(
          Effect.scoped,
          // The life's own scope is all that `scoped` took out of what the child asks for.
          Effect.provide(context as Context.Context<Exclude<R, Scope.Scope>>),
          Effect.annotateLogs(annotations)
        ),
      onRetire: child.onRetire ?? Effect.void,
      over: yield* Deferred.make<void, ChildFailed>(),
      life: undefined,
      retired: false
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => group.entries.push(entry)),
      () => end(group, entry, Exit.void)
    )
    const begun = yield* begin(group, entry)
    if (Exit.isFailure(begun)) {
      yield* end(group, entry, Exit.void)
      // What `run` fails with before it has begun is what `child.start` fails with.
      return yield* Effect.failCause(begun.cause as Cause.Cause<E>)
    }
    return { join: Effect.raceFirst(Deferred.await(entry.over), groupJoin) }
  })
