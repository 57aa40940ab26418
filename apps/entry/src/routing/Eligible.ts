/**
 * Who may be asked, step by step: who serves the model and is linked, has not failed this answer, carries the labels;
 * whole models before splits; whose breaker lets requests pass; who has a free slot; who keeps what the request's tier
 * promises, where anybody does. Pure.
 */
import * as Labels from "@weft/mesh/Labels"
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import * as PeerDirectory from "@weft/mesh/PeerDirectory"
import type { PeerId } from "@weft/mesh/PeerId"
import { Either } from "effect"
import type { Attachment } from "../Links.ts"
import type { Figures } from "../performance/PerformanceState.ts"
import type { PeerModel } from "./PeerModel.ts"
import * as TrustList from "./TrustList.ts"

/** Represents what a peer is needed for. */
export interface Wanted {
  readonly model: string
  /** Peers that failed this answer already. */
  readonly excluded: ReadonlySet<PeerId>
  readonly labels: Labels.Labels
  /** Answers per slot at which a peer counts as busy: 1 where nobody may wait at a peer. */
  readonly perSlotMax: number
  /** Whether a peer that was measured so keeps what is promised; absent: nothing is promised. */
  readonly meetsSla?: (figures: Figures) => boolean
  /** Tells which ways to serve the model are wanted; all are where absent. */
  readonly suits?: Suits | undefined
}

/** Tells whether a peer that serves a model in this way is wanted. */
export type Suits = (served: ModelDescription) => boolean

/** Represents the mesh at one moment. */
export interface View {
  readonly directory: PeerDirectory.PeerDirectory
  readonly attachments: ReadonlyMap<PeerId, Attachment>
  readonly nowMs: number
}

/** Represents what decides besides the view. */
export interface EligibleRules {
  readonly trust: TrustList.TrustList
  readonly passes: (peer: PeerId, nowMs: number) => boolean
  /** Returns the last hour of a peer; undefined where nothing was measured. */
  readonly figuresOf: (one: PeerModel, nowMs: number) => Figures | undefined
}

/** Represents why nobody may be asked. */
export type Nobody =
  | { readonly reason: "UnknownModel" | "AllBusy" }
  /** Those who could be reached serve it in another way than is wanted. */
  | { readonly reason: "NoneSuits" }
  /** `label` is what those who could be reached do not carry, as people read it. */
  | { readonly reason: "NoPeer"; readonly label?: string }

/** Represents who may be asked. */
export interface Eligible {
  readonly free: readonly [PeerModel, ...ReadonlyArray<PeerModel>]
  /** Those without a free slot, who would come into question otherwise. */
  readonly busy: ReadonlyArray<PeerModel>
}

/** Returns who among `known`, all of them peers with the model, may be asked now, or why nobody. */
export const eligible = (
  known: ReadonlyArray<PeerModel>,
  wanted: Wanted,
  view: View,
  rules: EligibleRules
): Either.Either<Eligible, Nobody> => {
  if (!view.directory.models.has(wanted.model)) return Either.left({ reason: "UnknownModel" })
  const reached = reachable(known, wanted, view, rules)
  if (!Array.isArray(reached)) return Either.left(reached)
  const whole = reached.filter(({ mode }) => mode === "solo")
  const cohort = whole.length > 0 ? whole : reached
  // Where every breaker is open, asking is better than refusing.
  const healthy = orAll(cohort, ({ peer }) => rules.passes(peer, view.nowMs))
  const isFree = ({ inFlight, slots }: PeerModel) => inFlight < slots * wanted.perSlotMax
  const [first, ...others] = keeping(healthy.filter(isFree), wanted, view, rules)
  if (first === undefined) return Either.left({ reason: "AllBusy" })
  return Either.right({ free: [first, ...others], busy: healthy.filter((one) => !isFree(one)) })
}

// internal

/** Returns those that are there and take requests, as they are now; or that nobody is, and for want of which label. */
const reachable = (
  known: ReadonlyArray<PeerModel>,
  { excluded, labels, model, suits }: Wanted,
  { attachments, directory }: View,
  { trust }: EligibleRules
): Array<PeerModel> | Extract<Nobody, { readonly reason: "NoPeer" | "NoneSuits" }> => {
  const hasLabels = labels.region !== undefined || labels.trust !== undefined
  const reached: Array<PeerModel> = []
  let lacking: string | undefined
  let isUnsuited = false
  for (const one of known) {
    const peer = directory.peers.get(one.peer)
    const attachment = attachments.get(one.peer)
    if (peer === undefined || attachment === undefined || excluded.has(one.peer)) continue
    const load = PeerDirectory.loadServing(peer, model)
    if (load === undefined) continue
    const missing = hasLabels ? missingAt(peer, model, labels, directory, trust) : undefined
    lacking ??= missing
    if (missing !== undefined) continue
    const served = suits && PeerDirectory.descriptionOf(peer.info, model)
    if (served !== undefined && suits?.(served) === false) {
      isUnsuited = true
      continue
    }
    one.seen(attachment, load.active + load.queued)
    reached.push(one)
  }
  if (reached.length > 0) return reached
  if (isUnsuited) return { reason: "NoneSuits" }
  return lacking === undefined ? { reason: "NoPeer" } : { reason: "NoPeer", label: lacking }
}

/** A prompt passes through every stage of a split, so each of its peers must carry the labels. */
const missingAt = (
  { info }: PeerDirectory.Peer,
  model: string,
  labels: Labels.Labels,
  { peers }: PeerDirectory.PeerDirectory,
  trust: TrustList.TrustList
): string | undefined => {
  const stages = PeerDirectory.descriptionOf(info, model)?.stages ?? []
  const others = stages.map(({ peer }) => peers.get(peer)?.info)
  for (const each of [info, ...others]) {
    const missing = Labels.missing(labels, each === undefined ? Labels.none : TrustList.carried(each, trust))
    if (missing !== undefined) return missing
  }
  return undefined
}

/** Somebody who was never measured counts as keeping the promise: else nobody new would ever be measured. */
const keeping = (
  free: ReadonlyArray<PeerModel>,
  { meetsSla }: Wanted,
  { nowMs }: View,
  { figuresOf }: EligibleRules
): ReadonlyArray<PeerModel> => {
  if (meetsSla === undefined) return free
  return orAll(free, (one) => {
    const figures = figuresOf(one, nowMs)
    return figures === undefined || meetsSla(figures)
  })
}

const orAll = <A>(all: ReadonlyArray<A>, keeps: (one: A) => boolean): ReadonlyArray<A> => {
  const kept = all.filter(keeps)
  return kept.length > 0 ? kept : all
}
