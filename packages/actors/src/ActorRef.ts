/**
 * How an actor is talked to. A ref is the RPC client of the actor's protocol: `ref.Add({ n: 1 })` asks and waits for
 * the answer, `ref.Add({ n: 1 }, { discard: true })` tells, a streaming rpc gives a `Stream`, and interrupting the
 * caller cancels. A ref outlives the actor's restarts; after its end every call fails with `ActorStopped`.
 */
import type { Rpc, RpcClient, RpcGroup } from "@effect/rpc"
import { type Context, Duration, Effect } from "effect"
import { type ActorStopped, AskTimeout, type MailboxFull } from "./ActorError.ts"

/**
 * Represents a typed reference to one actor. `E` is what the way to it may add: nothing for an actor of this process,
 * `RpcClientError` for one behind a link; a local ref fits wherever the wider type is asked for.
 *
 * @category models
 */
export type ActorRef<Rpcs extends Rpc.Any, E = never> = RpcClient.RpcClient<Rpcs, MailboxFull | ActorStopped | E>

/**
 * Asks with a deadline: fails with `AskTimeout` when `call` has not completed by then, and cancels it. Returns at the
 * deadline even when the actor runs the call in an uninterruptible region.
 *
 * @category combinators
 */
export const ask = <A, E, R>(
  call: Effect.Effect<A, E, R>,
  deadline: Duration.DurationInput
): Effect.Effect<A, E | AskTimeout, R> =>
  Effect.timeoutFail(call, {
    duration: deadline,
    onTimeout: () => new AskTimeout({ deadlineMs: Duration.toMillis(deadline) })
  })

/**
 * Returns handlers that forward every rpc of `protocol` to `ref`, in the order they are called: what an `RpcServer`
 * needs to serve the actor to others. A refusal (`MailboxFull`, `ActorStopped`) reaches the other side as the rpc's
 * error where the protocol names it, and as a defect where it does not.
 *
 * @category constructors
 */
export const toHandlers = <Rpcs extends Rpc.Any>(
  protocol: RpcGroup.RpcGroup<Rpcs>,
  ref: ActorRef<Rpcs>
): Effect.Effect<Context.Context<Rpc.ToHandler<Rpcs>>> => {
  // The client's type is computed from the protocol, which is not known here; its shape is: tag, or prefix then tag.
  const methods = ref as unknown as Methods & Record<string, Methods>
  const handlers: Record<string, Method> = {}
  for (const tag of protocol.requests.keys()) {
    const dot = tag.indexOf(".")
    const method = dot === -1 ? methods[tag] : methods[tag.slice(0, dot)]?.[tag.slice(dot + 1)]
    if (method !== undefined) handlers[tag] = (payload, { headers }) => method(payload, { headers })
  }
  // Each handler is the protocol's own method of the same tag, so payload, answer and errors agree rpc by rpc.
  return protocol.toHandlersContext(handlers as unknown as RpcGroup.HandlersFrom<Rpcs>) as Effect.Effect<
    Context.Context<Rpc.ToHandler<Rpcs>>
  >
}

// internal

type Method = (payload: unknown, options: { readonly headers: unknown }) => unknown
type Methods = Record<string, Method>
