/**
 * The gate of one actor: RPC handlers that put each call into the inbox, wait for its turn, and run the handler of the
 * current life in it. Owns nothing but the book of which call is served by which life.
 */
import { Rpc, type RpcGroup, RpcSchema } from "@effect/rpc"
import type { FromServer } from "@effect/rpc/RpcMessage"
import {
  Cause,
  Context,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  FiberId,
  HashSet,
  Mailbox,
  Option,
  Scope,
  Stream,
  Tracer
} from "effect"
import { ActorStopped, MailboxFull } from "../ActorError.ts"
import * as ActorMetrics from "../ActorMetrics.ts"
import { CurrentSupervisor } from "../Supervision.ts"
import { endWithin } from "./endWithin.ts"
import { Inbox, Turn } from "./Inbox.ts"

/** What calls that were cut may take to clean up: they have nothing left to wait for. */
export const cleanupBound = Duration.seconds(1)

/**
 * Who interrupts the calls of a life that ends: ids of no fiber, by which a cut is told from a caller's own leaving.
 */
const interruptor = { stopped: FiberId.unsafeMake(), restarting: FiberId.unsafeMake() }

type CallFiber = Fiber.RuntimeFiber<unknown, unknown>
type Reply = Effect.Effect<unknown, unknown> | Stream.Stream<unknown, unknown>
type Handler = (payload: unknown, meta: unknown) => Reply | Rpc.Wrapper<Reply>

/** One incarnation: the handlers over its state, and the calls it serves. */
export interface Life {
  readonly handlers: Readonly<Record<string, Handler>>
  /** What spawn was given, with the life's scope and without the spawner's span. */
  readonly context: Context.Context<never>
  readonly annotations: Record<string, unknown>
  /** Fibers of the running turn, open streams, answers still to come. */
  readonly calls: Set<CallFiber>
}

/** The gate itself: what an actor keeps across its lives. */
export interface Gate {
  readonly kind: string
  readonly inbox: Inbox<Life>
  readonly metrics: ActorMetrics.KindMetrics
  lives: number
  retired: boolean
}

/** Ends the turn that a handler runs in, from inside; `Actor.answerLater` is the way to it. */
export class CurrentTurn extends Context.Tag("@weft/actors/Actor/CurrentTurn")<
  CurrentTurn,
  { readonly end: Effect.Effect<void> }
>() {}

/** Opens the mailbox; its depth is measured until the scope closes. */
export const open = (kind: string, mailboxCapacity: number): Effect.Effect<Gate, never, Scope.Scope> =>
  Effect.gen(function* () {
    const inbox = new Inbox<Life>(mailboxCapacity)
    yield* ActorMetrics.watchMailbox(kind, () => inbox.size)
    return { kind, inbox, metrics: ActorMetrics.forKind(kind), lives: 0, retired: false }
  })

/** Returns whether a message would be taken now. */
export const admits = (gate: Gate): boolean => !gate.retired && !gate.inbox.full

/** Counts a refusal and returns why: the actor has retired, or its mailbox is full. */
export const refusal = (gate: Gate): MailboxFull | ActorStopped => {
  if (gate.retired) return new ActorStopped({ actor: gate.kind, reason: "stopped" })
  gate.metrics.rejected()
  return new MailboxFull({ actor: gate.kind, capacity: gate.inbox.capacity })
}

/** Takes no more messages and refuses those that wait. */
export const retire = (gate: Gate): Effect.Effect<void> =>
  Effect.sync(() => {
    gate.retired = true
    gate.inbox.refuse(new ActorStopped({ actor: gate.kind, reason: "stopped" }))
  })

/** Counts a life and returns it; `context` is what its handlers may ask for. */
export const beginLife = (
  gate: Gate,
  handlers: object,
  context: Context.Context<never>,
  annotations: Record<string, unknown>
): Life => {
  gate.lives += 1
  if (gate.lives > 1) gate.metrics.restarted()
  return {
    // Called by tag with what RpcServer took for the rpc of that tag: the protocol vouches for payload and reply.
    handlers: handlers as Life["handlers"],
    context: Context.add(Context.omit(Tracer.ParentSpan)(context), CurrentSupervisor, Option.none()),
    annotations,
    calls: new Set()
  }
}

/** Cuts the calls that a life still serves; their callers get `ActorStopped`. */
export const endLife = (gate: Gate, life: Life): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (life.calls.size === 0) return Effect.void
    const cut = Fiber.interruptAllAs(life.calls, gate.retired ? interruptor.stopped : interruptor.restarting)
    return Effect.asVoid(endWithin(cut, cleanupBound))
  })

/** Says `ActorStopped` where a call was interrupted because its life ended. */
export const explain = <Rpcs extends Rpc.Any>(gate: Gate, response: FromServer<Rpcs>): FromServer<Rpcs> => {
  if (response._tag !== "Exit" || Exit.isSuccess(response.exit)) return response
  const { cause } = response.exit
  if (!Cause.isInterruptedOnly(cause)) return response
  const by = Cause.interruptors(cause)
  const reason = (["stopped", "restarting"] as const).find((reason) => HashSet.has(by, interruptor[reason]))
  if (reason === undefined) return response
  const stopped = Exit.fail(new ActorStopped({ actor: gate.kind, reason }))
  // Beside the rpc's own errors a ref may fail with `ActorStopped`; the response's type knows only the former.
  return { ...response, exit: stopped as unknown as typeof response.exit }
}

/** Returns the handlers that RpcServer calls. */
export const toHandlers = <Rpcs extends Rpc.Any>(
  protocol: RpcGroup.RpcGroup<Rpcs>,
  gate: Gate
): Effect.Effect<Context.Context<Rpc.ToHandler<Rpcs>>> => {
  const handlers: Record<string, Handler> = {}
  // The group's type hides the schemas of its rpcs; every rpc has them.
  const rpcs = protocol.requests as unknown as ReadonlyMap<string, Rpc.AnyWithProps>
  for (const [tag, rpc] of rpcs) {
    handlers[tag] = RpcSchema.isStreamSchema(rpc.successSchema) ? streamGate(gate, tag) : callGate(gate, tag)
  }
  // Each gives what the handler of the same tag gives, or one of the ref's own errors.
  return protocol.toHandlersContext(handlers as unknown as RpcGroup.HandlersFrom<Rpcs>) as Effect.Effect<
    Context.Context<Rpc.ToHandler<Rpcs>>
  >
}

// internal

/** Waits for a turn, runs the handler in it and ends it with the handler's exit. */
const callGate =
  (gate: Gate, tag: string): Handler =>
  (payload, meta) =>
    inTurn(gate, false, (turn, life) => {
      const reply = unwrap(life.handlers[tag]?.(payload, meta))
      if (reply.fork) turn.end(Exit.void)
      // The protocol says that this rpc does not stream.
      const call = (reply.value as Effect.Effect<unknown, unknown>).pipe(
        Effect.mapInputContext((context: Context.Context<never>) => turnContext(context, life, turn)),
        Effect.annotateLogs(life.annotations)
      )
      return reply.uninterruptible ? Effect.uninterruptible(call) : call
    })

/** Waits for a turn and opens the stream in it; then the turn is over and the stream flows. */
const streamGate =
  (gate: Gate, tag: string): Handler =>
  (payload, meta) =>
    Stream.unwrapScoped(
      inTurn(gate, true, (turn, life) =>
        Effect.contextWithEffect((context: Context.Context<Scope.Scope>) => {
          const { value } = unwrap(life.handlers[tag]?.(payload, meta))
          // What is opened lasts as long as the stream, not as long as the life.
          const flow = Context.add(turnContext(context, life, turn), Scope.Scope, Context.get(context, Scope.Scope))
          if (!Effect.isEffect(value)) return Effect.succeed(Stream.provideContext(value, flow))
          // The protocol says that this rpc streams: an effect gives the mailbox to stream from.
          const opened = value as Effect.Effect<Mailbox.ReadonlyMailbox<unknown, unknown>, unknown>
          return opened.pipe(
            Effect.provide(flow),
            Effect.annotateLogs(life.annotations),
            Effect.map((mailbox) => Mailbox.toStream(mailbox))
          )
        })
      )
    )

/** Runs `body` when its turn is granted. With `flows`, the call goes on after the turn and is cut with its life. */
const inTurn = <A, E, R>(
  gate: Gate,
  flows: boolean,
  body: (turn: Turn<Life>, life: Life) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | MailboxFull | ActorStopped, R> =>
  Effect.withFiberRuntime<A, E | MailboxFull | ActorStopped, R>((fiber) => {
    const turn = new Turn<Life>()
    if (gate.retired || !gate.inbox.offer(turn)) return Effect.fail(refusal(gate))
    const granted = Effect.flatMap(Deferred.await(turn.granted), (life) => {
      life.calls.add(fiber)
      if (flows) fiber.addObserver(() => life.calls.delete(fiber))
      return Effect.onExit(body(turn, life), (exit) => {
        if (!flows || Exit.isFailure(exit)) life.calls.delete(fiber)
        return Effect.void
      })
    })
    return Effect.onExit(granted, (exit) => {
      turn.end(exit)
      return Effect.void
    })
  })

/** The actor's services win over the caller's, which brings its span and what middleware provides. */
const turnContext = <R>(context: Context.Context<R>, life: Life, turn: Turn<Life>): Context.Context<R> =>
  Context.add(Context.merge(context, life.context), CurrentTurn, { end: Effect.sync(() => turn.end(Exit.void)) })

const unwrap = (
  reply: Reply | Rpc.Wrapper<Reply> | undefined
): Pick<Rpc.Wrapper<Reply>, "value" | "fork" | "uninterruptible"> => {
  if (reply === undefined)
    return {
      value: Effect.dieMessage("the build returned no handler for this rpc"),
      fork: false,
      uninterruptible: false
    }
  return Rpc.isWrapper(reply) ? reply : { value: reply, fork: false, uninterruptible: false }
}
