/**
 * Makes the status document out of what the entry knows now. Pure: `Status.ts` gathers the inputs. A model that a peer
 * serves whole is solo whatever else is split; stages are shown only while their host says that they serve.
 */
import type { ElectionState } from "@weft/mesh/election/ElectionState"
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import type { Peer, PeerDirectory } from "@weft/mesh/PeerDirectory"
import type { PeerId } from "@weft/mesh/PeerId"
import type { PeerReach } from "../Links.ts"
import type { Figures, Mode, Served } from "../performance/PerformanceState.ts"
import type { TrustList } from "../routing/TrustList.ts"
import type { ShareOfTime } from "../share/ShareState.ts"
import type { TierName } from "../sla/Tier.ts"
import type { ReachedMilestones } from "./Milestones.ts"
import {
  type Efficiency,
  type History,
  type ModelStatus,
  modelsShownMax,
  type Native,
  peersShownMax,
  type ServingPeer,
  type ShareWindow,
  type Stage,
  type StatusDocument,
  statusVersion,
  type Through
} from "./StatusDocument.ts"
import { electionsOf, type ModelElection } from "./StatusElection.ts"
import { labelsOf, nameOf } from "./StatusPeer.ts"

/** Represents everything the document is made of. */
export interface StatusInputs {
  readonly nowMs: number
  readonly entry: { readonly id: PeerId; readonly version: string; readonly startedAtMs: number }
  readonly directory: PeerDirectory
  readonly elections: ElectionState
  /** Whom the entry vouches for. */
  readonly trust: TrustList
  readonly reaches: ReadonlyMap<PeerId, PeerReach>
  readonly performance: {
    readonly of: (served: Served) => Figures | undefined
    readonly ofModel: (model: string, mode: Mode) => Figures | undefined
  }
  readonly tierOf: (model: string) => TierName
  readonly milestones: ReadonlyMap<string, ReachedMilestones>
  readonly share: { readonly day: ShareOfTime; readonly week: ShareOfTime }
  /** Of the last 24 hours. */
  readonly history: History
}

/** Mesh efficiency from which on a model is green: a fifth is what the way through a mesh may cost. */
export const greenFrom = 0.8
/** Mesh efficiency from which on a model is amber: below, most of what its peers could give is lost. */
export const amberFrom = 0.5

/** Returns the document of this moment. */
export const statusOf = (inputs: StatusInputs): StatusDocument => {
  const { directory, entry, nowMs, share } = inputs
  const holders = holdersOf(directory)
  const elections = electionsOf(inputs)
  const known = knownOf(directory, elections)
  const shown = [...known.values()]
    .map((model) => ({ model, held: heldOf(holders.get(model.id) ?? []), tier: tierOrder[inputs.tierOf(model.id)] }))
    .toSorted(
      (one, other) =>
        Number(one.held.mode === null) - Number(other.held.mode === null) ||
        one.tier - other.tier ||
        one.model.id.localeCompare(other.model.id)
    )
    .slice(0, modelsShownMax)
  const models = shown.map(({ held, model }) => modelOf(inputs, model, held, elections.get(model.id)?.elected ?? []))
  const ids = new Set(models.map(({ id }) => id))
  return {
    version: statusVersion,
    generatedAtMs: nowMs,
    entry: { ...entry, uptimeSeconds: Math.max(0, Math.floor((nowMs - entry.startedAtMs) / 1000)) },
    models,
    modelCount: known.size,
    share: { day: windowOf(share.day), week: windowOf(share.week) },
    peers: peersOf(directory),
    links: linksOf(inputs.reaches),
    history: { ...inputs.history, models: inputs.history.models.filter(({ id }) => ids.has(id)) }
  }
}

/** Returns which part of the native rate comes through the mesh, and its grade. */
export const efficiencyOf = (through: Through | null, native: Native | null): Efficiency => {
  const rate = through?.tokensPerSecond?.p50
  if (rate === undefined || native === null) return { ratio: null, grade: "unmeasured" }
  const ratio = rate / native.tokensPerSecond
  return { ratio, grade: ratio >= greenFrom ? "green" : ratio >= amberFrom ? "amber" : "red" }
}

// internal

/** The strictest first. */
const tierOrder = { "daily-driver": 0, capacity: 1, experimental: 2 } as const

/** A peer that holds a model's file, and what it says of it. */
interface Holder {
  readonly peer: Peer
  readonly description: ModelDescription
  readonly state: ServingPeer["state"]
}

/** A model as far as its file goes. */
type Known = Pick<ModelDescription, "id" | "architecture" | "contextTokens" | "quantization" | "sizeBytes">

/** How a model is served: by the ready ones of `holders`. */
interface Held {
  readonly mode: Mode | null
  /** Those that hold the whole model, or the one host of its stages. */
  readonly holders: ReadonlyArray<Holder>
}

/** What the directory knows, and what nobody has served yet while somebody keeps it ready. */
const knownOf = (
  { models }: PeerDirectory,
  elections: ReadonlyMap<string, ModelElection>
): ReadonlyMap<string, Known> => {
  const known = new Map<string, Known>([...models].map(([id, { description }]) => [id, description]))
  for (const [id, { model }] of elections) if (model !== undefined && !known.has(id)) known.set(id, model)
  return known
}

const holdersOf = ({ models, peers }: PeerDirectory): ReadonlyMap<string, ReadonlyArray<Holder>> => {
  const holders = new Map<string, Array<Holder>>()
  for (const peer of peers.values()) {
    for (const description of peer.info.models) {
      if (models.get(description.id)?.description.sha256 !== description.sha256) continue
      const isReady = peer.load.models.some(({ id, ready }) => id === description.id && ready)
      const state = peer.load.state === "draining" ? "draining" : isReady ? "ready" : "loading"
      const known = holders.get(description.id)
      if (known === undefined) holders.set(description.id, [{ peer, description, state }])
      else known.push({ peer, description, state })
    }
  }
  return holders
}

const heldOf = (holders: ReadonlyArray<Holder>): Held => {
  const whole = holders.filter(({ description }) => description.stages === undefined)
  if (whole.some(({ state }) => state === "ready")) return { mode: "solo", holders: whole }
  const host = holders.find(({ description, state }) => description.stages !== undefined && state === "ready")
  return host === undefined ? { mode: null, holders: whole } : { mode: "split", holders: [host] }
}

const modelOf = (
  inputs: StatusInputs,
  { architecture, contextTokens, id, quantization, sizeBytes }: Known,
  held: Held,
  elected: ModelStatus["elected"]
): ModelStatus => {
  const { performance } = inputs
  const figures =
    held.mode === null
      ? (performance.ofModel(id, "solo") ?? performance.ofModel(id, "split"))
      : performance.ofModel(id, held.mode)
  const through = throughOf(figures)
  const native = medianNative(held.holders)
  const reached = inputs.milestones.get(id)
  const stages = held.mode === "split" ? stagesOf(inputs, held.holders) : null
  return {
    id,
    architecture,
    quantization,
    sizeBytes,
    contextTokens,
    tier: inputs.tierOf(id),
    mode: held.mode,
    peers:
      stages === null
        ? held.holders.toSorted(byReadiness).slice(0, peersShownMax).map(holderOf(inputs, id))
        : stages.map((stage) => stagePeerOf(inputs, id, stage, held.holders)),
    peerCount: stages?.length ?? held.holders.length,
    elected: elected.slice(0, peersShownMax),
    electedCount: elected.length,
    stages,
    through,
    native,
    efficiency: efficiencyOf(through, native),
    audit: "unaudited",
    firstServedAt: { meshMs: reached?.mesh ?? null, splitMs: reached?.split ?? null }
  }
}

const readiness = { ready: 0, loading: 1, draining: 2 } as const

const byReadiness = (one: Holder, other: Holder): number =>
  readiness[one.state] - readiness[other.state] ||
  one.peer.info.name.localeCompare(other.peer.info.name) ||
  (one.peer.info.id < other.peer.info.id ? -1 : 1)

const holderOf =
  ({ performance, reaches, trust }: StatusInputs, model: string) =>
  ({ description, peer, state }: Holder): ServingPeer => {
    const { id } = peer.info
    const load = peer.load.models.find((one) => one.id === model)
    const mode = description.stages === undefined ? "solo" : "split"
    const through = throughOf(performance.of({ peer: id, model, mode }))
    const native = mode === "solo" ? medianNative([{ peer, description, state }]) : null
    return {
      id,
      name: nameOf(peer),
      state,
      active: load?.active ?? 0,
      queued: load?.queued ?? 0,
      slots: description.slots,
      rttMs: reaches.get(id)?.rttMs ?? null,
      labels: labelsOf(peer, trust),
      through,
      native,
      efficiency: efficiencyOf(through, native)
    }
  }

/** The host has the figures and the load of the whole split, as all answers come from it. */
const stagePeerOf = (inputs: StatusInputs, model: string, stage: Stage, [host]: ReadonlyArray<Holder>): ServingPeer => {
  if (host?.peer.info.id === stage.peer) return holderOf(inputs, model)(host)
  const peer = inputs.directory.peers.get(stage.peer)
  return {
    id: stage.peer,
    name: stage.name,
    state: peer?.load.state ?? "loading",
    active: 0,
    queued: 0,
    slots: 0,
    rttMs: inputs.reaches.get(stage.peer)?.rttMs ?? null,
    labels: labelsOf(peer, inputs.trust),
    through: null,
    native: null,
    efficiency: efficiencyOf(null, null)
  }
}

/** What is measured is how far both are from the entry: they are at most the sum of it apart. */
const stagesOf = ({ directory, reaches }: StatusInputs, [host]: ReadonlyArray<Holder>): ReadonlyArray<Stage> => {
  const stages = host?.description.stages ?? []
  return stages.map(({ from, peer, to }, index) => {
    const next = stages[(index + 1) % stages.length]?.peer
    const here = reaches.get(peer)?.rttMs
    const there = next === undefined ? undefined : reaches.get(next)?.rttMs
    const known = directory.peers.get(peer)
    return {
      peer,
      name: known === undefined ? "" : nameOf(known),
      from,
      to,
      nextRttMs: here === undefined || there === undefined ? null : here + there
    }
  })
}

const throughOf = (figures: Figures | undefined): Through | null =>
  figures === undefined ? null : { ...figures, tokensPerSecond: figures.tokensPerSecond ?? null }

/** The middle of what the ready ones measured, each axis by itself; of all where none is ready. */
const medianNative = (holders: ReadonlyArray<Holder>): Native | null => {
  const ready = holders.filter(({ state }) => state === "ready")
  const measured = (ready.length > 0 ? ready : holders).flatMap(({ description }) =>
    description.native === undefined || description.stages !== undefined ? [] : [description.native]
  )
  const ttftMs = median(measured.map((one) => one.ttftMs))
  const tokensPerSecond = median(measured.map((one) => one.tokensPerSecond))
  if (ttftMs === undefined || tokensPerSecond === undefined) return null
  return { ttftMs, tokensPerSecond, runs: Math.min(...measured.map(({ runs }) => runs)) }
}

/** Of an even number the lower one, so that it is one that was measured. */
const median = (values: ReadonlyArray<number>): number | undefined => lowerQuantile(values, 0.5)

const lowerQuantile = (values: ReadonlyArray<number>, share: number): number | undefined =>
  values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * share)]

const windowOf = ({ mesh_share_pct, ...counts }: ShareOfTime): ShareWindow => ({
  ...counts,
  meshSharePct: mesh_share_pct
})

const peersOf = ({ peers }: PeerDirectory): StatusDocument["peers"] => {
  const all = [...peers.values()]
  return {
    total: all.length,
    ready: all.filter(({ load }) => load.state === "ready").length,
    draining: all.filter(({ load }) => load.state === "draining").length,
    lending: all.filter(({ info }) => (info.stages ?? []).length > 0).length,
    memoryBytes: all.reduce((sum, { info }) => sum + info.memoryBytes, 0)
  }
}

const linksOf = (reaches: StatusInputs["reaches"]): StatusDocument["links"] => {
  const times = [...reaches.values()].flatMap(({ rttMs }) => rttMs ?? [])
  const p50 = lowerQuantile(times, 0.5)
  const p95 = lowerQuantile(times, 0.95)
  return { total: reaches.size, rttMs: p50 === undefined || p95 === undefined ? null : { p50, p95 } }
}
