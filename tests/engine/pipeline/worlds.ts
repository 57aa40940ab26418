/** Small worlds of peers to plan in, and every plan there is in them, counted out without any of the planner's code. */
import type { Candidate, PlannedModel, Range, RoundTrips, Stage } from "@weft/engine/pipeline/PipelineCost"
import type { PlanRequest } from "@weft/engine/pipeline/PipelinePlan"
import type { PeerId } from "@weft/mesh/PeerId"
import { FastCheck } from "effect"

/** The planner takes ids as they are, so short ones will do. */
export const peer = (name: string): PeerId => name as PeerId

const names = ["ada", "ben", "cora", "dan", "eve"].map(peer)

export const candidate = (name: string, usableBytes: number, rest: Partial<Candidate> = {}): Candidate => ({
  id: peer(name),
  usableBytes,
  layerMs: 1,
  held: [],
  struckOff: undefined,
  isReachable: true,
  ...rest
})

export const mebi = 2 ** 20

/** A model of equal layers of 10 MiB without ends, cells or forbidden cuts, so that figures are easy to see. */
export const plainModel = (layers: number): PlannedModel => ({
  layerBytes: Array.from({ length: layers }, () => 10 * mebi),
  embeddingBytes: 0,
  headBytes: 0,
  sizeBytes: layers * 10 * mebi,
  cellBytesPerTokenLayer: 0,
  contextTokens: 1,
  slots: 1,
  headLayers: 0,
  allowedCuts: () => true
})

/** Bytes that hold just so many layers of it. */
export const room = (layers: number): number => layers * 11 * mebi + 1

/** Round trips that are the same between all. */
export const alike = (ids: ReadonlyArray<PeerId>, ms: number): RoundTrips =>
  new Map(ids.map((from) => [from, new Map(ids.map((to) => [to, ms]))]))

const model = FastCheck.record({
  layers: FastCheck.array(FastCheck.integer({ min: 5, max: 30 }), { minLength: 1, maxLength: 8, size: "max" }),
  embedding: FastCheck.integer({ min: 0, max: 30 }),
  head: FastCheck.integer({ min: 0, max: 30 }),
  isTied: FastCheck.boolean(),
  cells: FastCheck.integer({ min: 0, max: 1000 }),
  slots: FastCheck.integer({ min: 1, max: 3 }),
  headLayers: FastCheck.constantFrom(0, 0.5, 3),
  forbidden: FastCheck.array(FastCheck.integer({ min: 1, max: 7 }), { maxLength: 3 })
}).map(({ cells, embedding, forbidden, head, headLayers, isTied, layers, slots }): PlannedModel => {
  const layerBytes = layers.map((size) => size * mebi)
  const embeddingBytes = embedding * mebi
  const headBytes = isTied ? embeddingBytes : head * mebi
  const sizeBytes = layerBytes.reduce((sum, bytes) => sum + bytes, embeddingBytes + (isTied ? 0 : headBytes))
  const cellBytes = { cellBytesPerTokenLayer: cells, contextTokens: 1024, slots }
  const allowedCuts = (layer: number): boolean => !forbidden.includes(layer)
  return { layerBytes, embeddingBytes, headBytes, sizeBytes, ...cellBytes, headLayers, allowedCuts }
})

const range: FastCheck.Arbitrary<Range> = FastCheck.record({
  from: FastCheck.integer({ min: 0, max: 8 }),
  to: FastCheck.integer({ min: 0, max: 8 })
})

const member = FastCheck.record({
  usable: FastCheck.integer({ min: 0, max: 150 }),
  layerMs: FastCheck.option(FastCheck.integer({ min: 1, max: 20 }), { nil: undefined }),
  held: FastCheck.array(range, { maxLength: 2 }),
  /** A quarter of the peers lend some layers only. */
  only: FastCheck.oneof({ weight: 3, arbitrary: FastCheck.constant(undefined) }, { weight: 1, arbitrary: range }),
  /** One of ten is struck off, one unreachable. */
  standing: FastCheck.integer({ min: 0, max: 9 })
})

/** A round trip in milliseconds; absent for unknown, infinite for peers that cannot reach one another. */
const roundTrip = FastCheck.oneof(
  { weight: 8, arbitrary: FastCheck.integer({ min: 0, max: 150 }) },
  { weight: 1, arbitrary: FastCheck.constantFrom(undefined, Number.POSITIVE_INFINITY, Number.NaN, -5) }
)

/** Worlds of at most five peers and eight layers; a fifth of the peers may get nothing. */
export const world: FastCheck.Arbitrary<PlanRequest> = FastCheck.record({
  model,
  members: FastCheck.array(member, { minLength: 0, maxLength: names.length, size: "max" }),
  trips: FastCheck.array(roundTrip, { minLength: 25, maxLength: 25 }),
  forceSplit: FastCheck.boolean()
}).map(({ forceSplit, members, model, trips }) => {
  const candidates = names.slice(0, members.length).flatMap((id, index) => {
    const one = members[index]
    if (one === undefined) return []
    const struckOff = one.standing === 9 ? "gave wrong answers" : undefined
    return [{ ...one, id, usableBytes: one.usable * mebi, struckOff, isReachable: one.standing !== 8 }]
  })
  const roundTrips = new Map(
    names.map((from, row) => [
      from,
      new Map(names.flatMap((to, column) => entryOf(to, trips[row * names.length + column])))
    ])
  )
  return { model, candidates, roundTrips, forceSplit }
})

const entryOf = (to: PeerId, ms: number | undefined): ReadonlyArray<readonly [PeerId, number]> =>
  ms === undefined ? [] : [[to, ms]]

/** Bytes of a range at a peer, as the rule says: tensors × 1.1 and the cells of all slots. */
export const bytesOf = (model: PlannedModel, { from, to }: Range): number => {
  const { layerBytes } = model
  const isAll = from === 0 && to === layerBytes.length
  const tensors = layerBytes.slice(from, to).reduce((sum, bytes) => sum + bytes, 0)
  const ends = (from === 0 ? model.embeddingBytes : 0) + (to === layerBytes.length ? model.headBytes : 0)
  const cells = model.cellBytesPerTokenLayer * model.contextTokens * model.slots * (to - from)
  return (isAll ? model.sizeBytes : tensors + ends) * 1.1 + cells
}

/** Tells whether a peer that lends `only` these layers may have `stage`. */
export const isLent = (only: Range | undefined, stage: Range): boolean =>
  only === undefined || (only.from <= stage.from && stage.to <= only.to)

const isClaim = (ms: number | undefined): ms is number => ms !== undefined && ms >= 0

/** Milliseconds per token of stages in order: unmeasured layers at 2 GB/s, unknown round trips at 250 ms. */
export const msOf = ({ candidates, model, roundTrips }: PlanRequest, stages: ReadonlyArray<Stage>): number => {
  const layers = model.layerBytes.length
  const assumedMs = model.layerBytes.reduce((sum, bytes) => sum + bytes, 0) / layers / 2e6
  const compute = stages.map(({ from, peer, to }) => {
    const layerMs = candidates.find(({ id }) => id === peer)?.layerMs ?? assumedMs
    return layerMs * (to - from + (to === layers ? model.headLayers : 0))
  })
  const ways = stages.map(({ peer }, index) => {
    const next = stages[(index + 1) % stages.length]?.peer ?? peer
    if (next === peer) return 0
    const claims = [roundTrips.get(peer)?.get(next), roundTrips.get(next)?.get(peer)].filter(isClaim)
    return (claims.length === 0 ? 250 : Math.max(...claims)) / 2
  })
  return [...compute, ...ways].reduce((sum, ms) => sum + ms, 0)
}

/** Layers that their peers would have to fetch. */
export const missingLayers = ({ candidates }: PlanRequest, stages: ReadonlyArray<Stage>): number =>
  stages.reduce((sum, { from, peer, to }) => {
    const held = candidates.find(({ id }) => id === peer)?.held ?? []
    const layers = Array.from({ length: to - from }, (_, index) => from + index)
    return sum + layers.filter((layer) => !held.some((range) => range.from <= layer && layer < range.to)).length
  }, 0)

/** Every plan of the world that keeps the rules, with its time. */
export const everyPlan = (request: PlanRequest): ReadonlyArray<{ stages: ReadonlyArray<Stage>; ms: number }> => {
  const { candidates, forceSplit, model } = request
  const layers = model.layerBytes.length
  const able = candidates.filter(({ isReachable, struckOff }) => isReachable && struckOff === undefined)
  const extend = (stages: ReadonlyArray<Stage>): ReadonlyArray<ReadonlyArray<Stage>> => {
    const from = stages.at(-1)?.to ?? 0
    if (from === layers) return [stages]
    return able
      .filter(({ id }) => stages.every(({ peer }) => peer !== id))
      .flatMap(({ id, only, usableBytes }) =>
        Array.from({ length: layers - from }, (_, index) => ({ peer: id, from, to: from + index + 1 }))
          .filter(({ to }) => to === layers || model.allowedCuts(to))
          .filter((stage) => bytesOf(model, stage) <= usableBytes && isLent(only, stage))
          .flatMap((stage) => extend([...stages, stage]))
      )
  }
  return extend([])
    .map((stages) => ({ stages, ms: msOf(request, stages) }))
    .filter(({ ms, stages }) => ms < Number.POSITIVE_INFINITY && (forceSplit !== true || stages.length > 1))
}
