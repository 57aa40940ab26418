/**
 * The stages that this peer lends: takes `stage` streams of hosts that its entry permits, runs a lease for each, and
 * hands edges to the lease that they belong to. An edge may be here before the lease that it is for, or before that
 * lease has heard of the edge's epoch, so it waits a while.
 */
import * as Frames from "@weft/mesh/Frames"
import * as Link from "@weft/mesh/Link"
import { type PeerId, toShort } from "@weft/mesh/PeerId"
import type { PeerLinks } from "@weft/mesh/PeerLinks"
import type { MeshStream } from "@weft/mesh/Transport"
import { Clock, Effect, FiberSet, Option, type Scope } from "effect"
import { StageRequest } from "./PipelineProtocol.ts"
import * as SplitMetrics from "./SplitMetrics.ts"
import type { EdgeIn } from "./StageEdge.ts"
import { farewell, LeaseEnded, requestBytesMax, StageLease, type StageLeaseStatus } from "./StageLease.ts"
import * as StagePermit from "./StagePermit.ts"
import type { StageStock } from "./StageStock.ts"

/** Represents what a lender is made of. */
export interface StageLenderOptions {
  readonly stock: StageStock
  readonly links: PeerLinks["Type"]
  readonly self: PeerId
  /** Returns whose permits count; nothing is lent while there is nobody. */
  readonly entry: () => PeerId | undefined
  /** Most leases at once; the same by default as an announcement has offers. */
  readonly leasesMax?: number
}

/** Represents the leases of one peer. */
export interface StageLender {
  /** Serves a `stage` stream to its end. */
  readonly serve: (stream: MeshStream, link: Link.Link) => Effect.Effect<void>
  /** Takes an edge to a stage, which is reset where no lease comes that it is for. */
  readonly takeEdge: (edge: EdgeIn, from: PeerId) => void
  readonly status: () => ReadonlyArray<StageLeaseStatus>
}

/** Leases that fit a peer with room for many: each is a process. */
const leasesMaxDefault = 16
/** A group has one stage here; the one before may not have ended where it asks again. */
const groupLeasesMax = 2
/** Edges that wait for their lease; each holds a stream and what one frame has. */
const edgesWaitingMax = 64
/** Those of one peer, so that it cannot take the room of others: it is before this one in few groups. */
const edgesOfPeerMax = 16
/** A `Reserve` is on its way while the stage before has loaded already. */
const edgeWait = "30 seconds"
/** The `Reserve` comes with the stream. */
const reserveDeadline = "10 seconds"

/** Returns a lender without leases; its edges stop waiting with the scope. */
export const make = (options: StageLenderOptions): Effect.Effect<StageLender, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { entry, leasesMax = leasesMaxDefault, links, self, stock } = options
    const run = yield* FiberSet.makeRuntime<never>()
    const leases = new Set<StageLease>()
    const waiting = new Map<EdgeIn, PeerId>()

    const offer = (edge: EdgeIn, from: PeerId): boolean =>
      [...leases].some((lease) => lease.group === edge.edge.group && lease.takeEdge(edge, from))
    const offerWaiting = (): void => {
      for (const [edge, from] of waiting) if (offer(edge, from)) waiting.delete(edge)
    }
    const enter = (lease: StageLease): void => {
      leases.add(lease)
      offerWaiting()
    }
    const lend = (lease: StageLease): Effect.Effect<never, LeaseEnded> =>
      Effect.scoped(
        Effect.zipRight(
          Effect.acquireRelease(
            Effect.sync(() => enter(lease)),
            () => Effect.sync(() => leases.delete(lease))
          ),
          lease.run
        )
      )
    const begin = Effect.fnUntraced(function* (stream: MeshStream, link: Link.Link) {
      const frames = Frames.reader(stream, { sizeBytesMax: requestBytesMax })
      const first = yield* frames.read(StageRequest).pipe(
        Effect.timeout(reserveDeadline),
        Effect.mapError(({ message }) => new LeaseEnded({ reason: "malformed", message }))
      )
      const reserve = Option.getOrUndefined(first)
      if (reserve?._tag !== "Reserve" || reserve.host !== link.peer)
        return yield* new LeaseEnded({ reason: "malformed", message: "a lease begins with its host's Reserve" })
      const unpermitted = StagePermit.refusalOf({ ...reserve, peer: self }, entry(), yield* Clock.currentTimeMillis)
      if (unpermitted !== undefined) return yield* new LeaseEnded({ reason: "refused", message: unpermitted })
      const isHeld = [...leases].filter(({ group }) => group === reserve.group).length >= groupLeasesMax
      if (isHeld || leases.size >= leasesMax)
        return yield* new LeaseEnded({ reason: "refused", message: "it lends enough stages" })
      return yield* lend(new StageLease({ reserve, link, stream, frames, stock, links, onRewired: offerWaiting }))
    })

    const counted = Effect.sync(() => SplitMetrics.leases.inc())
    const serve = (stream: MeshStream, link: Link.Link): Effect.Effect<void> =>
      Effect.catchAll(Effect.zipRight(counted, begin(stream, link)), (ended) => {
        SplitMetrics.leasesEnded.inc({ reason: ended.reason })
        const last = ended.reason === "malformed" ? stream.reset(Link.ResetCode.malformed) : farewell(stream, ended)
        return Effect.zipRight(
          Effect.logInfo(`a lease of ${toShort(link.peer)} ended (${ended.reason}): ${ended.message}`),
          last
        )
      }).pipe(Effect.annotateLogs({ module: "StageLender" }))

    const takeEdge = (edge: EdgeIn, from: PeerId): void => {
      if (offer(edge, from)) return
      const ofPeer = waiting.values().reduce((sum, peer) => sum + (peer === from ? 1 : 0), 0)
      if (waiting.size >= edgesWaitingMax || ofPeer >= edgesOfPeerMax) return void edge.reset()
      waiting.set(edge, from)
      const late = Effect.sync(() => {
        if (waiting.delete(edge)) edge.reset()
      })
      run(Effect.interruptible(Effect.delay(late, edgeWait)))
    }
    return { serve, takeEdge, status: () => [...leases].map((lease) => lease.status()) }
  })
