/**
 * Which models the entry has split among peers, and which it should. Pure: every step takes the state, what happened
 * and `now`, and returns a new state; `Splits.ts` owns the current one and carries out what `look` asks for. A group
 * whose peer fails it costs that peer its place for a while; a model whose groups fail waits longer each time.
 */
import * as PipelineCost from "@weft/engine/pipeline/PipelineCost"
import { type Explanation, plan } from "@weft/engine/pipeline/PipelinePlan"
import { type GroupEvent, type PeerPlace, type StagePlace, sparesMax } from "@weft/engine/pipeline/PipelineProtocol"
import * as StagePermit from "@weft/engine/pipeline/StagePermit"
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import type { PeerId } from "@weft/mesh/PeerId"

/** Represents a model that peers offer stages of, as the mesh is now. */
export interface SplitModel {
  readonly model: ModelDescription
  readonly planned: PipelineCost.PlannedModel
  /** Those with a link to the entry. */
  readonly candidates: ReadonlyArray<PipelineCost.Candidate>
  readonly addresses: ReadonlyMap<PeerId, string>
  readonly roundTrips: PipelineCost.RoundTrips
  /** A peer serves it whole. */
  readonly isServedWhole: boolean
  /** Changes when any of the above does in a way that matters to a plan. */
  readonly fingerprint: string
}

/** Represents how far a group is. */
export type GroupPhase = "forming" | "serving" | "broken"

/** Represents a group that was asked for and has not ended. */
export interface Group {
  readonly group: string
  readonly model: ModelDescription
  readonly layers: number
  readonly host: PeerId
  readonly phase: GroupPhase
  /** 0 until it serves. */
  readonly epoch: number
  readonly stages: ReadonlyArray<StagePlace>
  readonly spares: ReadonlyArray<PeerPlace>
  /** What each peer said last of its loading. */
  readonly progress: ReadonlyMap<PeerId, { readonly state: string; readonly fraction: number }>
  /** When `phase` began, milliseconds since 1970. */
  readonly sinceMs: number
  /** When its spares were permitted last. */
  readonly permittedMs: number
}

/** Represents what is known of one model between groups. */
export interface ModelOutlook {
  /** Why each candidate has the part it has, from the last plan. */
  readonly explanations: ReadonlyArray<Explanation>
  /** What the last plan was made for, and when. */
  readonly fingerprint: string
  readonly plannedMs: number
  /** Groups that failed one after another. */
  readonly failures: number
  /** No group before this time. */
  readonly waitUntilMs: number
  /** A group has failed since the last plan, so that the same plan may be tried again. */
  readonly isToRetry: boolean
}

/** Represents the splits of one entry. */
export interface SplitState {
  /** By model id; one group a model. */
  readonly groups: ReadonlyMap<string, Group>
  readonly outlooks: ReadonlyMap<string, ModelOutlook>
  readonly struckOff: ReadonlyMap<PeerId, StruckOff>
}

/** Represents why a peer gets no stages for a while. */
export interface StruckOff {
  readonly reason: string
  readonly untilMs: number
  readonly times: number
}

/** Represents what is to be done. */
export type SplitAction =
  | { readonly _tag: "Form"; readonly group: Group }
  /** Others may take a stage over than before, or their permits are to be renewed. */
  | { readonly _tag: "Offer"; readonly group: Group }
  /** A peer serves the whole model now. */
  | { readonly _tag: "Disband"; readonly group: string }

/** Nothing is split. */
export const empty: SplitState = { groups: new Map(), outlooks: new Map(), struckOff: new Map() }

/** Least time between two plans of a model that is split already, which only tell how everybody stands to it now. */
export const explainMs = 5_000
/** First wait after a group that failed, doubled with each further one. */
export const failureWaitMs = 2_000
/** Longest wait: a mesh that was mended by hand is tried again while its owner looks on. */
export const failureWaitMsMax = 120_000
/** First time a peer is left out after it failed a group, doubled with each further one. */
export const strikeMs = 10_000
/** Longest time a peer is left out. */
export const strikeMsMax = 600_000
/** Permits are renewed twice before they expire. */
export const permitEveryMs = StagePermit.validityMs / 3
/** Most models split at once: each costs plans and streams. */
export const groupsMax = 64

/**
 * Returns what is to be done now: a group for a model that needs one and can have one, at most one new group a look,
 * named `group`; and the end of groups whose model a peer serves whole. Plans are made only where something changed.
 */
export const look = (
  state: SplitState,
  models: ReadonlyArray<SplitModel>,
  options: { readonly forceSplit: boolean; readonly group: string },
  now: number
): readonly [ReadonlyArray<SplitAction>, SplitState] => {
  const struckOff = new Map([...state.struckOff].filter(([, { untilMs }]) => untilMs + strikeMsMax > now))
  const outlooks = new Map([...state.outlooks].filter(([id]) => models.some(({ model }) => model.id === id)))
  const kept = { ...state, outlooks, struckOff }
  const disbanded = models.flatMap(({ isServedWhole, model }): ReadonlyArray<SplitAction> => {
    const group = state.groups.get(model.id)
    return group === undefined || !isServedWhole || options.forceSplit ? [] : [{ _tag: "Disband", group: group.group }]
  })
  const [offers, offered] = offer(kept, models, now)
  const done = [...disbanded, ...offers]
  const wanting = models.find((one) => (!one.isServedWhole || options.forceSplit) && isDue(offered, one, now))
  if (wanting === undefined) return [done, offered]
  const [group, next] = planned(offered, wanting, options, now)
  return [group === undefined ? done : [...done, { _tag: "Form", group }], next]
}

/** Notes what the host of a group says; words of a group that is over change nothing. */
export const told = (state: SplitState, name: string, event: GroupEvent, now: number): SplitState => {
  const group = find(state, name)
  if (group === undefined) return state
  switch (event._tag) {
    case "Forming": {
      // A host may name anybody: what is kept is bounded by the members it has.
      if (!members(group).has(event.peer)) return state
      const progress = new Map(group.progress).set(event.peer, { state: event.state, fraction: event.fraction })
      return withGroup(state, { ...group, progress })
    }
    case "Serving": {
      const stages = event.stages.length === 0 ? group.stages : event.stages
      const served = withGroup(state, { ...group, phase: "serving", epoch: event.epoch, stages, sinceMs: now })
      return withOutlook(served, group.model.id, { failures: 0, waitUntilMs: 0 })
    }
    case "Broken": {
      const broken = withGroup(state, { ...group, phase: "broken", sinceMs: now })
      return event.peer === undefined ? broken : strike(broken, group, event.peer, event.reason, now)
    }
    case "Disbanded": {
      const over = ended(state, name, now)
      return event.peer === undefined ? over : strike(over, group, event.peer, event.reason, now)
    }
  }
}

/** Notes that a group is over, whoever ended it; the next one for its model waits the longer the more failed. */
export const ended = (state: SplitState, name: string, now: number): SplitState => {
  const group = find(state, name)
  if (group === undefined) return state
  const groups = new Map(state.groups)
  groups.delete(group.model.id)
  const failures = (state.outlooks.get(group.model.id)?.failures ?? 0) + 1
  const waitUntilMs = now + Math.min(failureWaitMsMax, failureWaitMs * 2 ** Math.min(failures - 1, 16))
  return withOutlook({ ...state, groups }, group.model.id, { failures, waitUntilMs, isToRetry: true })
}

// internal

/** Those who get no stages now. */
const strikes = ({ struckOff }: SplitState, now: number): ReadonlyMap<PeerId, StruckOff> =>
  new Map([...struckOff].filter(([, { untilMs }]) => untilMs > now))

/** What a plan depends on. */
const fingerprintOf = (state: SplitState, { fingerprint }: SplitModel, now: number): string =>
  `${fingerprint} ${[...strikes(state, now).keys()].join(" ")}`

/** A model is planned when it comes, when something changed, and again after a group that failed; never too soon. */
const isDue = (state: SplitState, one: SplitModel, now: number): boolean => {
  const known = state.outlooks.get(one.model.id)
  if (known === undefined) return true
  const isSplit = state.groups.has(one.model.id)
  const fromMs = isSplit ? known.plannedMs + explainMs : known.waitUntilMs
  return now >= fromMs && ((known.isToRetry && !isSplit) || known.fingerprint !== fingerprintOf(state, one, now))
}

/** Tells the hosts of groups who may take a stage over, where that changed or their permits are old. */
const offer = (
  state: SplitState,
  models: ReadonlyArray<SplitModel>,
  now: number
): readonly [ReadonlyArray<SplitAction>, SplitState] => {
  const actions: Array<SplitAction> = []
  const groups = new Map(state.groups)
  for (const one of models) {
    const group = groups.get(one.model.id)
    if (group === undefined) continue
    const spares = sparesOf(one, group.stages, strikes(state, now), group.spares[0]?.peer)
    const isSame = spares.map(({ peer }) => peer).join() === group.spares.map(({ peer }) => peer).join()
    if (isSame && (spares.length === 0 || now < group.permittedMs + permitEveryMs)) continue
    const offered = { ...group, spares, permittedMs: now }
    groups.set(one.model.id, offered)
    actions.push({ _tag: "Offer", group: offered })
  }
  return [actions, actions.length === 0 ? state : { ...state, groups }]
}

/** Returns who may take over one of `stages`: the planned spare first, then those who lend most. */
const sparesOf = (
  { addresses, candidates, planned }: SplitModel,
  stages: ReadonlyArray<PipelineCost.Range & { readonly peer: PeerId }>,
  out: ReadonlyMap<PeerId, StruckOff>,
  first: PeerId | undefined
): ReadonlyArray<PeerPlace> => {
  const cost = PipelineCost.make(planned, new Map())
  const able = candidates.filter(
    (one) =>
      !out.has(one.id) && !stages.some(({ peer }) => peer === one.id) && stages.some((range) => cost.fits(one, range))
  )
  return able
    .toSorted(
      (one, other) =>
        Number(other.id === first) - Number(one.id === first) ||
        other.usableBytes - one.usableBytes ||
        (one.id < other.id ? -1 : 1)
    )
    .slice(0, sparesMax)
    .map(({ id }) => ({ peer: id, address: addresses.get(id) ?? "" }))
}

/** Plans one model; returns its new group where it has none and can have one. */
const planned = (
  state: SplitState,
  one: SplitModel,
  { forceSplit, group }: { readonly forceSplit: boolean; readonly group: string },
  now: number
): readonly [Group | undefined, SplitState] => {
  const { id } = one.model
  const out = strikes(state, now)
  const candidates = one.candidates.map((candidate) => ({ ...candidate, struckOff: out.get(candidate.id)?.reason }))
  const present = state.groups.get(id)
  const serving = present === undefined ? undefined : { stages: present.stages, spare: present.spares[0]?.peer }
  const made = plan({ model: one.planned, candidates, roundTrips: one.roundTrips, forceSplit, present: serving })
  const outlook = {
    failures: state.outlooks.get(id)?.failures ?? 0,
    waitUntilMs: 0,
    isToRetry: false,
    plannedMs: now,
    explanations: made.explanations,
    fingerprint: fingerprintOf(state, one, now)
  }
  const outlooks = new Map(state.outlooks).set(id, outlook)
  const isFull = present !== undefined || state.groups.size >= groupsMax
  const formed =
    isFull || made.plan === undefined
      ? undefined
      : groupOf(one, made.plan.stages, sparesOf(one, made.plan.stages, out, made.plan.spare))
  if (formed === undefined) return [undefined, { ...state, outlooks }]
  const next = { ...formed, group, sinceMs: now, permittedMs: now }
  return [next, { ...state, outlooks, groups: new Map(state.groups).set(id, next) }]
}

const find = ({ groups }: SplitState, name: string): Group | undefined =>
  [...groups.values()].find(({ group }) => group === name)

const members = ({ spares, stages }: Group): ReadonlySet<PeerId> =>
  new Set([...stages, ...spares].map(({ peer }) => peer))

const withGroup = (state: SplitState, group: Group): SplitState => ({
  ...state,
  groups: new Map(state.groups).set(group.model.id, group)
})

const withOutlook = (state: SplitState, id: string, change: Partial<ModelOutlook>): SplitState => {
  const known = state.outlooks.get(id)
  return known === undefined ? state : { ...state, outlooks: new Map(state.outlooks).set(id, { ...known, ...change }) }
}

/** Leaves a peer out for a while. A host can accuse only members of its own group, and not itself. */
const strike = (state: SplitState, group: Group, peer: PeerId, reason: string, now: number): SplitState => {
  if (peer === group.host || !members(group).has(peer)) return state
  const times = (state.struckOff.get(peer)?.times ?? 0) + 1
  const untilMs = now + Math.min(strikeMsMax, strikeMs * 2 ** Math.min(times - 1, 16))
  return { ...state, struckOff: new Map(state.struckOff).set(peer, { reason, untilMs, times }) }
}

/** Returns the group of a plan with several stages; none for one that a peer serves alone. */
const groupOf = (
  { addresses, model, planned }: SplitModel,
  stages: ReadonlyArray<PipelineCost.Range & { readonly peer: PeerId }>,
  spares: ReadonlyArray<PeerPlace>
): Omit<Group, "group" | "sinceMs" | "permittedMs"> | undefined => {
  const [first] = stages
  if (first === undefined || stages.length < 2) return undefined
  const place = (peer: PeerId): PeerPlace => ({ peer, address: addresses.get(peer) ?? "" })
  return {
    model,
    layers: planned.layerBytes.length,
    host: first.peer,
    phase: "forming",
    epoch: 0,
    stages: stages.map(({ from, peer, to }) => ({ ...place(peer), from, to })),
    spares,
    progress: new Map()
  }
}
