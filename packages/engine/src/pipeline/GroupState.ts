/**
 * What the host of a pipeline knows of its group, what can happen to it, and what can be done. Pure; `GroupTurn.ts`
 * decides, `Group.ts` carries it out. The host's own stage is lease 0 and is treated as the others are.
 */
import type { PeerId } from "@weft/mesh/PeerId"
import type { PipelineFault } from "./PipelineHostProtocol.ts"
import type { Form, GroupEvent, PeerPlace, StagePlace, StageReply } from "./PipelineProtocol.ts"

/** Represents a stage that was reserved. */
export interface Member {
  /** Rises with each reservation; 0 is the host's own. */
  readonly lease: number
  readonly place: StagePlace
  readonly isLoaded: boolean
  /** The last epoch that it was ready in; 0 before. */
  readonly readyEpoch: number
  readonly fraction: number
  /** When it came further last, or was asked for something. */
  readonly movedMs: number
  readonly begunMs: number
}

/** Represents a peer that may take a stage over. */
export interface Spare extends PeerPlace {
  /** Most layers to ask it for, less after a refusal. */
  readonly layersMax: number
}

/** Represents a complaint of one stage about another, while it is not known which of them is at fault. */
export interface Suspicion {
  /** Leases of the two. */
  readonly accuser: number
  readonly accused: number
  readonly reason: string
  readonly sinceMs: number
}

/** Represents a group at one moment. */
export interface GroupState {
  readonly phase: "forming" | "serving" | "healing" | "disbanded"
  readonly epoch: number
  /** In the order of their layers. */
  readonly members: ReadonlyArray<Member>
  /** A stage that is loaded beside the others, for the loss of one. */
  readonly hot: Member | undefined
  readonly spares: ReadonlyArray<Spare>
  readonly nextLease: number
  /** Values of a hidden state, as the first stage that was ready said. */
  readonly width: number | undefined
  readonly suspicion: Suspicion | undefined
  /** Peers whose complaint about another was believed. */
  readonly accusers: ReadonlySet<PeerId>
  /** Halts of answers within five minutes of each other, and when the last was. */
  readonly faults: number
  /** Of them, those by tokens that cannot be. */
  readonly wrongTails: number
  readonly faultMs: number
}

/** Represents what happens; `lease` names whom it came from. */
export type GroupHappening =
  | { readonly _tag: "Loading"; readonly lease: number; readonly fraction: number }
  | { readonly _tag: "Ready"; readonly lease: number; readonly epoch: number; readonly width: number }
  | { readonly _tag: "Refused"; readonly lease: number; readonly reason: string }
  | {
      readonly _tag: "Parted"
      readonly lease: number
      readonly epoch: number
      readonly peer: PeerId
      readonly reason: string
    }
  /** The lease is over, said by the stage or seen by the end of its stream. */
  | { readonly _tag: "Lost"; readonly lease: number; readonly reason: string }
  /** An answer came to a halt; `peer` is the stage that refused to go on with it. */
  | {
      readonly _tag: "Faulted"
      readonly epoch: number
      readonly kind: PipelineFault["kind"]
      readonly peer?: PeerId
      readonly reason: string
    }
  /** Who may take a stage over now; others than those no more. */
  | { readonly _tag: "Offered"; readonly spares: ReadonlyArray<PeerPlace> }
  /** Time passes; to be said every second. */
  | { readonly _tag: "Looked" }
  /** The entry wants the group no more. */
  | { readonly _tag: "Dissolved"; readonly reason: string }

/** Represents the neighbours of a stage in an epoch. */
export interface Wiring {
  readonly epoch: number
  /** None for the first stage and for a spare. */
  readonly previous: PeerId | null
  /** None for the last stage and for a spare. */
  readonly next: PeerPlace | null
}

/** Represents what is to be done, in order. */
export type GroupAction =
  | { readonly _tag: "Reserve"; readonly lease: number; readonly place: StagePlace; readonly wiring: Wiring }
  | { readonly _tag: "Rewire"; readonly lease: number; readonly wiring: Wiring }
  | { readonly _tag: "Release"; readonly lease: number }
  | { readonly _tag: "Connect"; readonly epoch: number }
  | { readonly _tag: "Disconnect" }
  | { readonly _tag: "Tell"; readonly event: GroupEvent }

/** Represents what a step leads to. */
export type GroupStep = readonly [GroupState, ReadonlyArray<GroupAction>]

/** Returns what a stage's word is as a happening. */
export const happeningOf = (
  lease: number,
  reply: Exclude<StageReply, { readonly _tag: "Working" }>
): GroupHappening => ({ ...reply, lease })

/** Returns why a wish cannot be carried out by `self`; undefined where it can be tried. */
export const refusalOf = ({ layers, spares, stages }: Form, self: PeerId): string | undefined => {
  if (stages[0]?.peer !== self) return "the first stage is another peer's"
  const peers = [...stages, ...spares].map(({ peer }) => peer)
  if (new Set(peers).size < peers.length) return "a peer is named twice"
  let layer = 0
  for (const { from, to } of stages) {
    if (from !== layer || to <= from) return "the stages do not cover the layers in order"
    layer = to
  }
  return layer === layers ? undefined : "the stages do not cover all layers"
}
