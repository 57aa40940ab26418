/**
 * This peer's part in pipelines: the stages it lends to others, and the pipelines it hosts for its entry. Serves the
 * streams that other peers open; those of the entry come in through `EntryLink.ts`.
 */
import * as GroupHost from "@weft/engine/pipeline/GroupHost"
import * as StageEdge from "@weft/engine/pipeline/StageEdge"
import * as StageLender from "@weft/engine/pipeline/StageLender"
import type { StageStock } from "@weft/engine/pipeline/StageStock"
import { Identity } from "@weft/mesh/Identity"
import * as Link from "@weft/mesh/Link"
import type { PeerId } from "@weft/mesh/PeerId"
import { PeerLinks } from "@weft/mesh/PeerLinks"
import type { StageOffer } from "@weft/mesh/StageOffer"
import type { MeshStream } from "@weft/mesh/Transport"
import { Context, Effect, Layer } from "effect"
import { Engines } from "./Engines.ts"
import type { GroupStatus, LeaseStatus, LentModelStatus } from "./PeerStatus.ts"

/** Lends stages and hosts pipelines. */
export class Splits extends Context.Tag("@weft/peer/Splits")<
  Splits,
  {
    /** Takes note of who the entry is: stages are lent to hosts that it permits. */
    readonly trust: (entry: PeerId) => void
    /** Serves a `split` stream of the entry to its end. */
    readonly serve: (stream: MeshStream) => Effect.Effect<void>
    /** What the peer says of the models whose layers it lends. */
    readonly offers: Effect.Effect<ReadonlyArray<StageOffer>>
    /** Waits until `offers` are worth saying again, which is so at most once a minute. */
    readonly offersChanged: Effect.Effect<void>
    readonly lends: ReadonlyArray<LentModelStatus>
    readonly leases: () => ReadonlyArray<LeaseStatus>
    readonly groups: () => ReadonlyArray<GroupStatus>
  }
>() {
  static readonly layer = (
    stock: StageStock,
    options: { readonly speculates: boolean }
  ): Layer.Layer<Splits, never, Engines | PeerLinks | Identity> => Layer.scoped(Splits, make(stock, options))

  /** A peer that takes no part in pipelines. */
  static readonly layerNone: Layer.Layer<Splits> = Layer.succeed(Splits, {
    trust: () => {},
    serve: (stream) => stream.reset(Link.ResetCode.unknownKind),
    offers: Effect.succeed([]),
    offersChanged: Effect.never,
    lends: [],
    leases: () => [],
    groups: () => []
  })
}

// internal

const make = Effect.fnUntraced(function* (stock: StageStock, options: { readonly speculates: boolean }) {
  const engines = yield* Engines
  const links = yield* PeerLinks
  const { id } = yield* Identity
  let trusted: PeerId | undefined
  const lender = yield* StageLender.make({ stock, links, self: id, entry: () => trusted })
  const host = GroupHost.make({
    ...options,
    self: id,
    stock,
    links,
    onServing: engines.serve,
    onEnded: engines.withdraw
  })
  yield* links.serve(({ kind, stream }, link) => {
    switch (kind) {
      case "stage":
        return lender.serve(stream, link)
      case "edge":
        StageEdge.accept(stream, (edge) => (edge.edge.to === "host" ? host : lender).takeEdge(edge, link.peer))
        return undefined
      default:
        stream.unsafeReset(Link.ResetCode.unknownKind)
        return undefined
    }
  })
  return Splits.of({
    trust: (entry) => {
      trusted = entry
    },
    serve: host.serve,
    offers: stock.offers,
    offersChanged: stock.offersChanged,
    lends: stock.models.map(({ description, draft, only, rules: { layers } }) => ({
      model: description.id,
      layers,
      ...(only ?? { from: 0, to: layers }),
      ...(draft === undefined ? {} : { draft: draft.path })
    })),
    leases: () =>
      lender.status().map(({ msPerLayer, processId, ...lease }) => ({
        ...lease,
        ...(msPerLayer === undefined ? {} : { msPerLayer }),
        ...(processId === undefined ? {} : { processId })
      })),
    groups: host.status
  })
})
