/** The entry, top to bottom: the door for clients, the mesh behind it, the directory between, and what all rest on. */
import { observeBuild } from "@weft/mesh/BuildMetrics"
import { Certificate } from "@weft/mesh/Certificate"
import { protocolVersion } from "@weft/mesh/Hello"
import { Identity } from "@weft/mesh/Identity"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import { observeProcess } from "@weft/mesh/ProcessMetrics"
import * as QuicTransport from "@weft/mesh/QuicTransport"
import * as Transports from "@weft/mesh/Transports"
import { MeshAddresses } from "@weft/mesh/Transports"
import { version } from "@weft/mesh/Version"
import * as WebTransport from "@weft/mesh/WebTransport"
import { Console, Context, Effect, Layer } from "effect"
import { ApiKeyStore } from "./ApiKeyStore.ts"
import * as Database from "./Database.ts"
import { EntryConfig } from "./EntryConfig.ts"
import { EntryDescription } from "./EntryDescription.ts"
import { Demand } from "./election/Demand.ts"
import { Elections } from "./election/Elections.ts"
import { Fallback } from "./fallback/Fallback.ts"
import * as Http from "./Http.ts"
import { HttpAddress } from "./http/HttpAddress.ts"
import { Links } from "./Links.ts"
import * as MeshInference from "./MeshInference.ts"
import * as MeshListener from "./MeshListener.ts"
import * as Gossip from "./performance/Gossip.ts"
import { Performance } from "./performance/Performance.ts"
import { Slots } from "./Slots.ts"
import { Share } from "./share/Share.ts"
import { Sla } from "./sla/Sla.ts"
import { Splits } from "./split/Splits.ts"
import { Status } from "./status/Status.ts"

/** Runs the entry until it is interrupted or its directory gives up; `json` prints where it listens as one object. */
export const run = Effect.fn("entry.serve")(function* (json: boolean) {
  const context = yield* Layer.build(layer)
  const { meshAddresses, peerId } = Context.get(context, EntryDescription)
  const { url } = Context.get(context, HttpAddress)
  yield* observeBuild
  yield* observeProcess
  yield* Console.log(
    json
      ? JSON.stringify({ event: "listening", url, peerId, mesh: meshAddresses[0] })
      : `listening ${url}/v1  mesh ${meshAddresses.join(" ")}\nid        ${peerId}`
  )
  return yield* Context.get(context, PeerDirectoryActor).join
}, Effect.scoped)

// internal

const transport = Layer.unwrapEffect(
  Effect.map(EntryConfig, ({ meshHost: host, meshPort: port }) =>
    Transports.layer({ listening: [QuicTransport.layer({ host, port }), WebTransport.layer({ host, port })] })
  )
)

const identity = Layer.unwrapEffect(Effect.map(EntryConfig, ({ dataDir }) => Identity.layerDirectory(dataDir)))

const description = Layer.effect(
  EntryDescription,
  Effect.gen(function* () {
    const { id } = yield* Identity
    return { peerId: id, meshAddresses: yield* MeshAddresses, protocolVersion, version }
  })
)

const layer = Layer.mergeAll(Http.layer, MeshListener.layer, Gossip.layer).pipe(
  Layer.provide(MeshInference.layer),
  Layer.provide([Splits.layer, Status.layer]),
  Layer.provide(Elections.layer),
  Layer.provide([Slots.layer, Demand.layer]),
  Layer.provide(Links.layer),
  Layer.provide([Sla.layer, Fallback.layer]),
  Layer.provide(Performance.layer),
  Layer.provide([ApiKeyStore.layer, Share.layer]),
  Layer.provide(Database.layerOfCounts),
  Layer.provideMerge(PeerDirectoryActor.layer()),
  Layer.provideMerge(description),
  Layer.provide(transport),
  Layer.provide([Certificate.layer, identity])
)
