/** A client that talks to an actor as another process would: every message is encoded to msgpack bytes and back. */
import { type Rpc, RpcClient, type RpcClientError, type RpcGroup, RpcSerialization, RpcServer } from "@effect/rpc"
import type { FromClientEncoded, FromServerEncoded } from "@effect/rpc/RpcMessage"
import { Effect, Mailbox, type Scope } from "effect"
import { type Actor, type SpawnContext, type SpawnOptions, spawn } from "./Actor.ts"
import { toHandlers } from "./ActorRef.ts"

/** The wire's own settings: plain MessagePack, without the records extension of msgpackr. */
const serialization = RpcSerialization.makeMsgPack({ useRecords: false })

/** The only client of the link. */
const clientId = 0

/** More than any test's turns at once; a test of the bound names its own. */
const mailboxCapacityDefault = 256

/**
 * Spawns the actor and returns a client to it, in memory and on the test's clock. A value that its schema or msgpack
 * cannot carry is a defect of the call that sends it; so is a refusal that the protocol does not name.
 *
 * @category constructors
 */
export const makeClient = Effect.fnUntraced(function* <
  Rpcs extends Rpc.Any,
  Handlers extends RpcGroup.HandlersFrom<Rpcs>,
  E,
  R
>(
  actor: Actor<Rpcs>,
  build: Effect.Effect<Handlers, E, R>,
  options: Partial<SpawnOptions> = {}
): Effect.fn.Return<
  RpcClient.RpcClient<Rpcs, RpcClientError.RpcClientError>,
  E,
  SpawnContext<Rpcs, Handlers, R> | Rpc.Context<Rpcs>
> {
  const { ref } = yield* spawn(actor, build, { mailboxCapacity: mailboxCapacityDefault, ...options })
  const handlers = yield* toHandlers(actor.protocol, ref)
  const { client, server } = yield* link
  yield* RpcServer.make(actor.protocol, { disableFatalDefects: true }).pipe(
    Effect.provideService(RpcServer.Protocol, server),
    Effect.provide(handlers),
    Effect.forkScoped
  )
  return yield* Effect.provideService(RpcClient.make(actor.protocol), RpcClient.Protocol, client)
})

// internal

/** Joins the two ends of the RPC protocol by bytes. */
const link: Effect.Effect<
  { readonly client: RpcClient.Protocol["Type"]; readonly server: RpcServer.Protocol["Type"] },
  never,
  Scope.Scope
> = Effect.gen(function* () {
  const disconnects = yield* Effect.acquireRelease(Mailbox.make<number>(), (mailbox) => mailbox.shutdown)
  const toServer = bytes<FromClientEncoded>()
  const toClient = bytes<FromServerEncoded>()
  let receive: (message: FromClientEncoded) => Effect.Effect<void>
  let answer: (message: FromServerEncoded) => Effect.Effect<void>
  const client = yield* RpcClient.Protocol.make((deliver) => {
    answer = deliver
    return Effect.succeed({
      send: (request) => Effect.flatMap(toServer(request), (messages) => Effect.forEach(messages, receive)),
      supportsAck: true,
      supportsTransferables: false
    })
  })
  const server = yield* RpcServer.Protocol.make((deliver) => {
    receive = (message) => deliver(clientId, message)
    return Effect.succeed({
      disconnects,
      send: (_clientId, response) => Effect.flatMap(toClient(response), (messages) => Effect.forEach(messages, answer)),
      end: () => Effect.void,
      clientIds: Effect.succeed(new Set([clientId])),
      initialMessage: Effect.succeedNone,
      supportsAck: true,
      supportsTransferables: false,
      supportsSpanPropagation: true
    })
  })
  return { client, server }
})

/** Returns a way for messages through an encoder of one end and a decoder of the other. */
const bytes = <Message>() => {
  const sender = serialization.unsafeMake()
  const receiver = serialization.unsafeMake()
  return (message: Message): Effect.Effect<ReadonlyArray<Message>> =>
    Effect.sync(() => {
      const encoded = sender.encode(message)
      // Decoded from what one `Message` was encoded to; what is inside is checked by the schemas of the protocol.
      return encoded === undefined ? [] : (receiver.decode(encoded) as ReadonlyArray<Message>)
    })
}
