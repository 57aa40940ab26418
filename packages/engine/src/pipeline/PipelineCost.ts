/**
 * What a stage of a split model costs: bytes at its peer, milliseconds per token, and the way from stage to stage. Owns
 * the words that plans are made of. Pure: figures that peers claimed come in, checked here; sums come out.
 */
import type { PeerId } from "@weft/mesh/PeerId"

/** Represents a model as the plan sees it. */
export interface PlannedModel {
  /** Bytes of each layer's tensors, in order; at least one layer. */
  readonly layerBytes: ReadonlyArray<number>
  /** Bytes of what only the first stage holds. */
  readonly embeddingBytes: number
  /** Bytes of what only the last stage holds; the embedding's again where the two are one tensor. */
  readonly headBytes: number
  /** Bytes of the whole file, which a peer alone holds. */
  readonly sizeBytes: number
  /** Bytes of the cells of one token in one layer. */
  readonly cellBytesPerTokenLayer: number
  /** Tokens of one sequence. */
  readonly contextTokens: number
  /** Sequences at once; each holds `contextTokens` cells. */
  readonly slots: number
  /** Time of the head in times of a layer; 0 where what was measured per layer contains it. */
  readonly headLayers: number
  /** Tells whether a stage may begin at this layer; asked for 1 … layers − 1. */
  readonly allowedCuts: (layer: number) => boolean
}

/** Represents the layers `from` … `to`, `to` excluded. */
export interface Range {
  readonly from: number
  readonly to: number
}

/** Represents a peer that may get a stage. Its figures are claims: a number that makes no sense counts as absent. */
export interface Candidate {
  readonly id: PeerId
  readonly usableBytes: number
  /** Measured time of one layer of this model for one token; absent while not measured. */
  readonly layerMs: number | undefined
  /** Layers of this model that it has on disk or in memory. */
  readonly held: ReadonlyArray<Range>
  /** Its owner lends layers of this range alone; of all where absent. */
  readonly only?: Range | undefined
  /** Why it must get nothing, in words for people; absent for peers in good standing. */
  readonly struckOff: string | undefined
  /** Tells whether other peers can open a session with it. */
  readonly isReachable: boolean
}

/**
 * Round trips in milliseconds, from who measured to whom. Of two for one pair the longer counts, so that nobody makes a
 * way look short alone; `Infinity` says that the two cannot reach one another.
 */
export type RoundTrips = ReadonlyMap<PeerId, ReadonlyMap<PeerId, number>>

/** Represents a range at a peer. */
export interface Stage extends Range {
  readonly peer: PeerId
}

/** Represents the time of one token without speculation, in milliseconds. */
export interface Predicted {
  /** The sum over the stages. */
  readonly computeMs: number
  /** From the first stage through all to the last and back, 0 for one stage. */
  readonly loopMs: number
  readonly msPerToken: number
}

/** Room over the bytes of the tensors: for the graph, the buffers of a decode and the runtime, as for a whole model. */
const roomFactor = 1.1
/**
 * What a peer that was not measured reads of its weights per millisecond: 2 GB/s is an old laptop with company. Each
 * token reads each weight once, so this bounds the speed of whatever was left unmeasured from below.
 */
const assumedBytesPerMs = 2_000_000
/** A round trip that nobody measured: longer than those between two continents, and as long as over a relay. */
const assumedRoundTripMs = 250

/** Represents a candidate with what the search asks of it again and again. */
export interface Runner {
  readonly candidate: Candidate
  readonly layerMs: number
  /** False where `layerMs` is the pessimistic assumption. */
  readonly isMeasured: boolean
  /** For each boundary the lowest one from which the peer can hold all layers between; the boundary itself for none. */
  readonly starts: Uint16Array
  /** Most layers it can hold in one range; 0 for none. */
  readonly layersMax: number
}

/** Represents a range at a runner. */
export interface Placed extends Range {
  readonly runner: Runner
}

/** Represents stages in order, which cover all layers, with their time. */
export interface Chain {
  readonly stages: ReadonlyArray<Placed>
  readonly predicted: Predicted
}

/** Represents the costs of one model among given peers. */
export interface PipelineCost {
  readonly layers: number
  readonly headLayers: number
  /** Where stages may begin and end: 0, the allowed cuts, the number of layers; ascending. */
  readonly boundaries: ReadonlyArray<number>
  /** Bytes a peer needs for a range: tensors with room, and all cells. */
  readonly needBytes: (range: Range) => number
  readonly fits: (candidate: Candidate, range: Range) => boolean
  readonly runner: (candidate: Candidate) => Runner
  /** Time of a range at a peer per token. */
  readonly computeMs: (runner: Runner, range: Range) => number
  /** Time of the way between two peers, half a round trip. */
  readonly linkMs: (from: PeerId, to: PeerId) => number
  /** Fewest bytes that any stage of this model needs. */
  readonly leastBytes: number
}

/** Returns the costs of `model`. */
export const make = (model: PlannedModel, roundTrips: RoundTrips): PipelineCost => {
  const layers = model.layerBytes.length
  const before = [0]
  for (const bytes of model.layerBytes) before.push((before.at(-1) ?? 0) + bytes)
  const cellBytes = model.cellBytesPerTokenLayer * model.contextTokens * model.slots
  const tensorBytes = ({ from, to }: Range): number => {
    if (from === 0 && to === layers) return model.sizeBytes
    const ends = (from === 0 ? model.embeddingBytes : 0) + (to === layers ? model.headBytes : 0)
    return (before[to] ?? 0) - (before[from] ?? 0) + ends
  }
  const needBytes = (range: Range): number => tensorBytes(range) * roomFactor + cellBytes * (range.to - range.from)
  const fits = ({ only, usableBytes }: Candidate, range: Range): boolean =>
    usableBytes < Number.POSITIVE_INFINITY &&
    needBytes(range) <= usableBytes &&
    (only === undefined || (only.from <= range.from && range.to <= only.to))
  const boundaries = [0, ...model.layerBytes.keys(), layers].filter(
    (layer, index) => index === 0 || layer === layers || (layer > 0 && model.allowedCuts(layer))
  )
  const assumedMs = (before.at(-1) ?? 0) / layers / assumedBytesPerMs
  const units = boundaries.slice(1).map((to, index) => needBytes({ from: boundaries[index] ?? 0, to }))
  return {
    layers,
    headLayers: model.headLayers,
    boundaries,
    needBytes,
    fits,
    runner: (candidate) => {
      const isMeasured = isPositive(candidate.layerMs)
      const layerMs = isPositive(candidate.layerMs) ? candidate.layerMs : assumedMs
      return { candidate, layerMs, isMeasured, ...reachOf(boundaries, (range) => fits(candidate, range)) }
    },
    computeMs: ({ layerMs }, { from, to }) => layerMs * (to - from + (to === layers ? model.headLayers : 0)),
    linkMs: (from, to) => roundTripMs(roundTrips, from, to) / 2,
    leastBytes: Math.min(...units)
  }
}

/** Returns `stages` with the time of one token through them. */
export const chainOf = (cost: PipelineCost, stages: ReadonlyArray<Placed>): Chain => {
  let [computeMs, loopMs] = [0, 0]
  for (const [index, stage] of stages.entries()) {
    const next = stages[(index + 1) % stages.length] ?? stage
    computeMs += cost.computeMs(stage.runner, stage)
    if (next !== stage) loopMs += cost.linkMs(stage.runner.candidate.id, next.runner.candidate.id)
  }
  return { stages, predicted: { computeMs, loopMs, msPerToken: computeMs + loopMs } }
}

/** Returns how many layers of `range` are in one of `held`. */
export const heldLayers = (held: ReadonlyArray<Range>, { from, to }: Range): number => {
  let count = 0
  for (let layer = from; layer < to; layer++) if (held.some((range) => range.from <= layer && layer < range.to)) count++
  return count
}

// internal

const isPositive = (figure: number | undefined): figure is number =>
  figure !== undefined && figure > 0 && figure < Number.POSITIVE_INFINITY

const roundTripMs = (roundTrips: RoundTrips, a: PeerId, b: PeerId): number => {
  const there = claimedMs(roundTrips, a, b)
  const back = claimedMs(roundTrips, b, a)
  if (there === undefined) return back ?? assumedRoundTripMs
  return back === undefined ? there : Math.max(there, back)
}

const claimedMs = (roundTrips: RoundTrips, from: PeerId, to: PeerId): number | undefined => {
  const claimed = roundTrips.get(from)?.get(to)
  return claimed !== undefined && claimed >= 0 ? claimed : undefined
}

/** Needs grow with the end of a range and shrink with its begin, so the lowest begin never falls as the end rises. */
const reachOf = (
  boundaries: ReadonlyArray<number>,
  fits: (range: Range) => boolean
): Pick<Runner, "starts" | "layersMax"> => {
  const starts = new Uint16Array(boundaries.length)
  let layersMax = 0
  let start = 0
  for (const [index, to] of boundaries.entries()) {
    while (start < index && !fits({ from: boundaries[start] ?? 0, to })) start++
    starts[index] = start
    layersMax = Math.max(layersMax, to - (boundaries[start] ?? 0))
  }
  return { starts, layersMax }
}
