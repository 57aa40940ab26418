/**
 * The actor: state behind a bounded mailbox, one turn at a time in the order sent. `spawn` owns four parts: an inbox of
 * turns, a supervised loop over it (each life builds its state anew), a gate in the form of RPC handlers, and the ref.
 *
 *   in:  ref → RpcClient → RpcServer → gate (a fiber per call) → inbox → granted by the loop → handler in that fiber
 *   out: handler's exit → RpcServer → RpcClient → caller; a stream opens in its turn and flows outside it
 */
import { type Rpc, RpcClient, type RpcGroup, RpcServer } from "@effect/rpc"
import { Context, Duration, Effect, Exit, Option, Schema, Scope } from "effect"
import { ActorKind } from "./ActorAddress.ts"
import type { ActorStopped, MailboxFull } from "./ActorError.ts"
import type { ActorRef } from "./ActorRef.ts"
import type { ChildFailed } from "./ChildFailed.ts"
import { endWithin } from "./internal/endWithin.ts"
import {
  admits,
  beginLife,
  CurrentTurn,
  cleanupBound,
  endLife,
  explain,
  type Gate,
  open,
  refusal,
  retire,
  toHandlers
} from "./internal/Gate.ts"
import type { RestartType } from "./RestartPolicy.ts"
import { CurrentSupervisor, make as makeSupervisor } from "./Supervision.ts"

/** As long as a supervisor gives a worker to end (OTP's default). */
const shutdownDefault = Duration.seconds(5)

/**
 * Represents what an actor is: its kind and the messages it takes. The behaviour comes with `spawn`.
 *
 * @category models
 */
export interface Actor<Rpcs extends Rpc.Any> {
  /** As in its addresses, metrics, spans and errors. */
  readonly kind: string
  readonly protocol: RpcGroup.RpcGroup<Rpcs>
}

/**
 * Returns the definition of an actor; throws when `kind` is no `ActorKind`.
 *
 * @category constructors
 */
export const make = <Rpcs extends Rpc.Any>(kind: string, protocol: RpcGroup.RpcGroup<Rpcs>): Actor<Rpcs> => ({
  kind: Schema.decodeSync(ActorKind)(kind),
  protocol
})

/**
 * Represents an actor that was spawned.
 *
 * @category models
 */
export interface Spawned<Rpcs extends Rpc.Any> {
  /** Stays valid across restarts. */
  readonly ref: ActorRef<Rpcs>
  /** Completes when the actor ended for good: cleanly, or with `ChildFailed` when it (or its group) gave up. */
  readonly join: Effect.Effect<void, ChildFailed>
}

/**
 * Represents how an actor is run.
 *
 * @category models
 */
export interface SpawnOptions {
  /** Turns that may wait, the running one not counted; the next message fails with `MailboxFull`. */
  readonly mailboxCapacity: number
  /** `permanent` unless said otherwise. */
  readonly restart?: RestartType
  /**
   * How long the running turn may go on when the actor is stopped; then it is interrupted. 5 s unless said otherwise.
   */
  readonly shutdown?: Duration.DurationInput
}

/**
 * Ends the turn here and answers with what `answer` (often a `Deferred`) gives, outside the mailbox: the next turn
 * begins at once and may complete it. A defect of `answer` goes to the caller and crashes nothing; a restart cuts it.
 *
 * @category combinators
 */
export const answerLater = <A, E, R>(answer: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | CurrentTurn> =>
  Effect.flatMap(CurrentTurn, (turn) => Effect.zipRight(turn.end, answer))

/**
 * Represents what `spawn` needs from outside: what the state and the handlers ask for, and the protocol's middleware.
 * The handlers' `Scope` is that of the life they run in.
 *
 * @category models
 */
export type SpawnContext<Rpcs extends Rpc.Any, Handlers, R> =
  | Exclude<R, Scope.Scope>
  | Exclude<RpcGroup.HandlersContext<Rpcs, Handlers>, Scope.Scope | CurrentTurn>
  | Rpc.Middleware<Rpcs>
  | Rpc.MiddlewareClient<Rpcs>
  | Scope.Scope

/**
 * Starts an actor in the scope, as a child of `CurrentSupervisor` or of a supervisor of its own (one_for_one, default
 * policy). `build` makes the state and returns the handlers over it, now and again after each crash; when the first
 * build fails, so does `spawn`. Closing the scope refuses what waits, lets the running turn end, cuts what still flows.
 *
 * @category constructors
 */
export const spawn = Effect.fnUntraced(function* <
  Rpcs extends Rpc.Any,
  Handlers extends RpcGroup.HandlersFrom<Rpcs>,
  E,
  R
>(
  actor: Actor<Rpcs>,
  build: Effect.Effect<Handlers, E, R>,
  options: SpawnOptions
): Effect.fn.Return<Spawned<Rpcs>, E, SpawnContext<Rpcs, Handlers, R>> {
  const gate = yield* open(actor.kind, options.mailboxCapacity)
  const ref = yield* connect(actor, gate)
  const context = yield* Effect.context<SpawnContext<Rpcs, Handlers, R>>()
  const annotations = { ...Object.fromEntries(yield* Effect.logAnnotations), actor: actor.kind }
  const shutdown = Duration.decode(options.shutdown ?? shutdownDefault)

  const start = Effect.gen(function* () {
    const scope = yield* Effect.scope
    const life = beginLife(gate, yield* build, Context.add(context, Scope.Scope, scope), annotations)
    yield* Effect.addFinalizer(() => endLife(gate, life))
    return gate.inbox.serve(life, shutdown, gate.metrics.turnEnded)
  })

  const current = yield* CurrentSupervisor
  const { supervise } = Option.isSome(current)
    ? current.value
    : yield* makeSupervisor({ name: actor.kind, strategy: "one_for_one" })
  const { join } = yield* Effect.annotateLogs(
    supervise({
      name: actor.kind,
      start,
      restart: options.restart ?? "permanent",
      shutdown: Duration.sum(shutdown, cleanupBound),
      onRetire: retire(gate)
    }),
    annotations
  )
  return { ref, join }
})

// internal

/** Joins an RPC server over the gate with a client, in memory and without serialization. */
const connect = Effect.fnUntraced(function* <Rpcs extends Rpc.Any>(actor: Actor<Rpcs>, gate: Gate) {
  // Closed within a bound: a call that cannot be interrupted must not hold the whole scope.
  const serverScope = yield* Effect.acquireRelease(Scope.make(), (scope) =>
    endWithin(Scope.close(scope, Exit.void), cleanupBound)
  )
  // Never closed: a client whose scope is closed interrupts its callers, and they are to get `ActorStopped`.
  const clientScope = yield* Scope.make()

  const server: RpcServer.RpcServer<Rpcs> = yield* RpcServer.makeNoSerialization(actor.protocol, {
    spanPrefix: actor.kind,
    // A defect is the business of the call that met it and of the supervisor, not of the other calls.
    disableFatalDefects: true,
    onFromServer: (response) => client.write(explain(gate, response))
  }).pipe(Effect.provide(yield* toHandlers(actor.protocol, gate)), Scope.extend(serverScope))

  const client: LocalClient<Rpcs> = yield* RpcClient.makeNoSerialization<Rpcs, MailboxFull | ActorStopped>(
    actor.protocol,
    {
      // The server's span is a child of the caller's already: it runs in the caller's context.
      disableTracing: true,
      // Here a tell learns of its refusal too; the gate checks again, as middleware may wait in between.
      onFromClient: ({ message }) =>
        message._tag === "Request" && !admits(gate) ? Effect.fail(refusal(gate)) : server.write(0, message)
    }
  ).pipe(Scope.extend(clientScope))
  return client.client
})

type LocalClient<Rpcs extends Rpc.Any> = Effect.Effect.Success<
  ReturnType<typeof RpcClient.makeNoSerialization<Rpcs, MailboxFull | ActorStopped>>
>
