/** The two ends of a link's control stream: Effect RPC in plain msgpack over one mesh stream. */
import { SocketServer } from "@effect/platform"
import * as Socket from "@effect/platform/Socket"
import { RpcClient, type RpcGroup, RpcSerialization, RpcServer } from "@effect/rpc"
import { Effect, Schedule } from "effect"
import * as Link from "./Link.ts"
import { MeshRpcs } from "./MeshProtocol.ts"
import * as RpcSocket from "./RpcSocket.ts"

/** msgpack as every other library reads it: without msgpackr's extensions for repeated records and undefined. */
const serialization = RpcSerialization.makeMsgPack({ useRecords: false, encodeUndefinedAsNil: true })

/** Opens our control stream on `link` and returns the client of what the other side serves; closed with the scope. */
export const client = Effect.fn("ControlPlane.client")(function* (link: Link.Link) {
  const stream = yield* Link.open(link, "control")
  const protocol = yield* RpcClient.makeProtocolSocket({ retrySchedule: Schedule.stop }).pipe(
    Effect.provideService(Socket.Socket, RpcSocket.make(stream)),
    Effect.provideService(RpcSerialization.RpcSerialization, serialization)
  )
  return yield* RpcClient.make(MeshRpcs).pipe(Effect.provideService(RpcClient.Protocol, protocol))
})

/** Serves `handlers` on the control stream that the other side opened, until the scope closes or the stream ends. */
export const serve = Effect.fn("ControlPlane.serve")(function* <
  Handlers extends RpcGroup.HandlersFrom<RpcGroup.Rpcs<typeof MeshRpcs>>
>({ stream }: Link.Incoming, handlers: Handlers) {
  const socket = RpcSocket.make(stream)
  const protocol = yield* RpcServer.makeProtocolSocketServer.pipe(
    Effect.provideService(SocketServer.SocketServer, {
      address: { _tag: "TcpAddress", hostname: "mesh", port: 0 },
      run: (handler) => Effect.zipRight(Effect.ignore(handler(socket)), Effect.never)
    }),
    Effect.provideService(RpcSerialization.RpcSerialization, serialization)
  )
  yield* RpcServer.make(MeshRpcs, { disableFatalDefects: true, disableTracing: true }).pipe(
    Effect.provideService(RpcServer.Protocol, protocol),
    Effect.provide(MeshRpcs.toLayer(handlers)),
    Effect.raceFirst(Effect.ignore(stream.closed))
  )
})
