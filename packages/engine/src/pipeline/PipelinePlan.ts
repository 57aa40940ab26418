/**
 * Which peers serve a model, and which layers each: one alone where one can hold it, else the stages of a pipeline. A
 * pure function of a snapshot, owned by whoever forms pipelines: claims of peers flow in, a plan flows out and, for
 * each candidate, why it has its part. `PipelineCost.ts` knows what stages cost, `PipelineSearch.ts` finds the best.
 */
import type { PeerId } from "@weft/mesh/PeerId"
import {
  type Candidate,
  type Chain,
  chainOf,
  heldLayers,
  make,
  type PipelineCost,
  type PlannedModel,
  type Predicted,
  type Range,
  type RoundTrips,
  type Runner,
  type Stage
} from "./PipelineCost.ts"
import { improved, search, substitutes, tieFactor } from "./PipelineSearch.ts"

/** A plan that serves is left only for one that takes at most this share of its time: moving layers costs minutes. */
export const moveFactor = 0.85

/** Represents what a plan is made for. */
export interface PlanRequest {
  readonly model: PlannedModel
  /** Each id once. */
  readonly candidates: ReadonlyArray<Candidate>
  readonly roundTrips: RoundTrips
  /** What serves now. */
  readonly present?: Pick<Plan, "stages" | "spare"> | undefined
  /** Wants at least two stages even where one peer could hold all, e.g. to measure; false where absent. */
  readonly forceSplit?: boolean
}

/** Represents a way to serve the whole model. */
export interface Plan {
  /** In order, covering every layer once; one for a peer alone. */
  readonly stages: ReadonlyArray<Stage>
  /** A peer without a stage that can take over at least one; the plan works without. */
  readonly spare: PeerId | undefined
  readonly predicted: Predicted
}

/** Represents why a candidate has the part it has. Times are milliseconds per token of the whole pipeline. */
export type Verdict =
  | { readonly kind: "solo"; readonly needBytes: number; readonly msPerToken: number }
  | {
      readonly kind: "stage"
      readonly index: number
      readonly range: Range
      readonly needBytes: number
      readonly computeMs: number
      /** Layers of the range that it has already. */
      readonly heldLayers: number
    }
  /** Waits; it could take over the stages with these indexes. */
  | { readonly kind: "spare"; readonly covers: ReadonlyArray<number> }
  | { readonly kind: "struckOff"; readonly reason: string }
  | { readonly kind: "unreachable" }
  /** It cannot hold the smallest stage there is. */
  | { readonly kind: "tooLittleMemory"; readonly needBytes: number }
  /** In the best place for it the pipeline would take longer, or as long. */
  | { readonly kind: "slower"; readonly msPerToken: number; readonly chosenMs: number }
  /** In the best place for it the pipeline would take less time, but not by enough to move layers. */
  | { readonly kind: "notWorthMoving"; readonly msPerToken: number; readonly chosenMs: number }
  /** It could hold a stage, but cannot reach those before and behind it. */
  | { readonly kind: "outOfReach" }
  /** It can hold none of the ranges, so it would be one more stage; `leastLayers` has the smallest. */
  | { readonly kind: "fewerStages"; readonly leastLayers: number }
  /** One peer alone holds the model, and this one cannot. */
  | { readonly kind: "soloElsewhere"; readonly needBytes: number }
  /** It could hold `layersMax` layers, and no chain with others covers all `layers`. */
  | { readonly kind: "noChain"; readonly others: number; readonly layers: number }

/** Represents a verdict with what is known of the candidate. */
export interface Explanation {
  readonly peer: PeerId
  readonly usableBytes: number
  readonly layerMs: number
  /** False where nothing was measured and `layerMs` is a pessimistic assumption. */
  readonly isMeasured: boolean
  /** Most layers it could hold in one stage. */
  readonly layersMax: number
  readonly verdict: Verdict
}

/** Represents the outcome of planning. */
export interface Planned {
  /** Absent where the candidates cannot serve the model. */
  readonly plan: Plan | undefined
  /** One for each candidate, in the order of the candidates. */
  readonly explanations: ReadonlyArray<Explanation>
  /** False where there were too many candidates or orders to look at all of them. */
  readonly isExhaustive: boolean
}

/**
 * Returns the plan that minimises compute plus loop; ties go to fewer stages, then to what peers have already. A peer
 * that can hold the whole model serves it alone, the fastest of them. The present plan stays unless another takes at
 * most `moveFactor` of its time, or one of its stages is gone. The same request in any order gives the same plan.
 */
export const plan = (request: PlanRequest): Planned => {
  const table = tableOf(request)
  const present = presentChain(table, request)
  const { chain, isExhaustive } = fastest(table, request)
  const better = present === undefined ? undefined : improved(table.cost, present, table.capable)
  const fresh = better !== undefined && isFaster(better, chain, 1 / tieFactor) ? better : chain
  const chosen = present !== undefined && !isFaster(fresh, present, moveFactor) ? present : fresh
  return planned(table, request, chosen, isExhaustive)
}

/**
 * Returns the plan after `lost` have gone. The other stages of the present plan keep their ranges where others can take
 * the lost ones, the spare before all; otherwise the pipeline is planned anew.
 */
export const replan = (request: PlanRequest, lost: ReadonlySet<PeerId>): Planned => {
  const candidates = request.candidates.map((one) => (lost.has(one.id) ? { ...one, isReachable: false } : one))
  const remaining = { ...request, candidates }
  const table = tableOf(remaining)
  const mended = mend(table, remaining)
  return mended === undefined ? plan(remaining) : planned(table, remaining, mended, true)
}

/** Returns an explanation in one sentence for people, with its figures. */
export const toText = ({ isMeasured, layerMs, layersMax, usableBytes, verdict }: Explanation): string => {
  const pace = `${figure(layerMs)} ms per layer${isMeasured ? "" : ", assumed as nothing was measured"}`
  switch (verdict.kind) {
    case "solo":
      return `Serves the whole model alone in ${figure(verdict.msPerToken)} ms per token (${pace}).`
    case "stage":
      return (
        `Stage ${verdict.index + 1}, layers ${verdict.range.from} to ${verdict.range.to - 1}, ` +
        `${gib(verdict.needBytes)} of its ${gib(usableBytes)}, ${figure(verdict.computeMs)} ms per token ` +
        `(${pace}); it has ${verdict.heldLayers} of them already.`
      )
    case "spare":
      return `Kept as the spare: it can take over stage ${verdict.covers.map((index) => index + 1).join(", ")}.`
    case "struckOff":
      return `Struck off: ${verdict.reason}.`
    case "unreachable":
      return "Other peers cannot reach it: look at its firewall, or let it use a relay."
    case "outOfReach":
      return "It cannot reach the peers whose neighbour it would be: look at the ways between them."
    case "tooLittleMemory":
      return `Too little memory: the smallest stage needs ${gib(verdict.needBytes)}, it has ${gib(usableBytes)}.`
    case "slower":
      return (
        `Slower than needed: with it a token takes ${figure(verdict.msPerToken)} ms at best, ` +
        `without it ${figure(verdict.chosenMs)} ms (${pace}).`
      )
    case "notWorthMoving":
      return (
        `Not worth moving layers: with it a token takes ${figure(verdict.msPerToken)} ms, ` +
        `without it ${figure(verdict.chosenMs)} ms (${pace}).`
      )
    case "fewerStages":
      return `Fewer stages are better: it holds ${layersMax} layers, the smallest stage has ${verdict.leastLayers}.`
    case "soloElsewhere":
      return `Another peer holds the whole model, which needs ${gib(verdict.needBytes)}; it has ${gib(usableBytes)}.`
    case "noChain":
      return (
        `It holds ${layersMax} of ${verdict.layers} layers; with ${verdict.others} others no chain covers all: ` +
        "more memory is needed, or ways between the peers."
      )
  }
}

// internal

/** Represents the candidates, sorted by id so that their order decides nothing. */
interface Table {
  readonly cost: PipelineCost
  readonly runners: ReadonlyMap<PeerId, Runner>
  /** Those that may get a stage and can hold one. */
  readonly capable: ReadonlyArray<Runner>
  /** Those of them that may serve alone: none where a split is wanted. */
  readonly whole: ReadonlyArray<Runner>
  readonly all: Range
}

const tableOf = ({ candidates, forceSplit, model, roundTrips }: PlanRequest): Table => {
  const cost = make(model, roundTrips)
  const all = { from: 0, to: cost.layers }
  const runners = new Map(candidates.map((candidate) => [candidate.id, cost.runner(candidate)]))
  const capable = [...runners.values()]
    .filter(({ candidate, layersMax }) => standing(candidate) === undefined && layersMax > 0)
    .sort((a, b) => (a.candidate.id < b.candidate.id ? -1 : 1))
  const whole = forceSplit === true ? [] : capable.filter(({ candidate }) => cost.fits(candidate, all))
  return { cost, runners, capable, whole, all }
}

const standing = ({ isReachable, struckOff }: Candidate): Verdict | undefined => {
  if (struckOff !== undefined) return { kind: "struckOff", reason: struckOff }
  return isReachable ? undefined : { kind: "unreachable" }
}

/** What serves now is held, whatever the peer last said. */
const heldBy =
  ({ present }: PlanRequest) =>
  ({ candidate }: Runner): ReadonlyArray<Range> => [
    ...candidate.held,
    ...(present?.stages.filter(({ peer }) => peer === candidate.id) ?? [])
  ]

const isFaster = (one: Chain | undefined, other: Chain | undefined, factor: number): boolean =>
  (one?.predicted.msPerToken ?? Number.POSITIVE_INFINITY) <=
  (other?.predicted.msPerToken ?? Number.POSITIVE_INFINITY) * factor

const fastest = ({ all, capable, cost, whole }: Table, request: PlanRequest) => {
  const held = heldBy(request)
  if (whole.length > 0) {
    const alone = whole.map((runner) => chainOf(cost, [{ ...all, runner }]))
    const leastMs = Math.min(...alone.map(({ predicted }) => predicted.msPerToken))
    const layersOf = ({ stages: [stage] }: Chain) => (stage === undefined ? 0 : heldLayers(held(stage.runner), stage))
    const ties = alone.filter(({ predicted }) => predicted.msPerToken <= leastMs * tieFactor)
    const chain = ties.reduce((chosen, next) => {
      const more = layersOf(next) - layersOf(chosen)
      return more > 0 || (more === 0 && next.predicted.msPerToken < chosen.predicted.msPerToken) ? next : chosen
    })
    return { chain, isExhaustive: true }
  }
  const kept = new Set(request.present?.stages.map(({ peer }) => peer))
  return search(cost, capable, { stagesMin: request.forceSplit === true ? 2 : 1, held, kept })
}

/** Returns the present plan's stages at the runners that can still have them; undefined for those that are gone. */
const presentStages = ({ capable, cost }: Table, { present }: PlanRequest) =>
  (present?.stages ?? []).map(({ from, peer, to }) => {
    const runner = capable.find(({ candidate }) => candidate.id === peer && cost.fits(candidate, { from, to }))
    return { from, to, runner }
  })

/** Tells whether the stages are a way to serve the model as it is now wanted. */
const isWhole = ({ cost, whole }: Table, { forceSplit }: PlanRequest, stages: ReadonlyArray<Range>): boolean => {
  const allowed = new Set(cost.boundaries)
  const joins = stages.every(({ from, to }, index) => {
    const begins = index === 0 ? 0 : stages[index - 1]?.to
    return from === begins && from < to && allowed.has(from) && allowed.has(to)
  })
  const isAlone = stages.length === 1
  return joins && stages.at(-1)?.to === cost.layers && (isAlone ? forceSplit !== true : whole.length === 0)
}

const presentChain = (table: Table, request: PlanRequest): Chain | undefined => {
  const stages = presentStages(table, request)
  const living = stages.flatMap(({ runner, ...range }) => (runner === undefined ? [] : [{ ...range, runner }]))
  if (living.length < stages.length || !isWhole(table, request, stages)) return undefined
  const chain = chainOf(table.cost, living)
  return chain.predicted.msPerToken < Number.POSITIVE_INFINITY ? chain : undefined
}

/**
 * Who can hold a range can hold all that need less, so with the neediest first nobody is given away who is needed
 * later. Those that reach the neighbours come first, the
 * spare before all, then who has most of the range, then who is fastest in its place.
 */
const mend = (table: Table, request: PlanRequest): Chain | undefined => {
  const { capable, cost } = table
  const stages = presentStages(table, request)
  // A split that lost a stage is mended even where one peer could now serve alone: that would have to load everything.
  if (!isWhole({ ...table, whole: [] }, request, stages)) return undefined
  const free = new Set(capable)
  for (const { runner } of stages) if (runner !== undefined) free.delete(runner)
  const held = heldBy(request)
  const spare = request.present?.spare
  const gone = stages.filter(({ runner }) => runner === undefined)
  const taken = new Map<Range, Runner>()
  for (const range of gone.sort((a, b) => cost.needBytes(b) - cost.needBytes(a))) {
    const [next] = [...free]
      .filter(({ candidate }) => cost.fits(candidate, range))
      .map((runner) => {
        const ms = cost.computeMs(runner, range) + wayMs(cost, stages, range, runner)
        const isSpare = runner.candidate.id === spare
        const rank = [ms === Number.POSITIVE_INFINITY ? 1 : 0, isSpare ? 0 : 1, -heldLayers(held(runner), range), ms]
        return { runner, rank }
      })
      .sort((a, b) => compareRanks(a.rank, b.rank))
    if (next === undefined) return undefined
    free.delete(next.runner)
    taken.set(range, next.runner)
  }
  const mended = stages.flatMap((stage) => {
    const runner = stage.runner ?? taken.get(stage)
    return runner === undefined ? [] : [{ ...stage, runner }]
  })
  const chain = chainOf(cost, mended)
  return chain.predicted.msPerToken < Number.POSITIVE_INFINITY ? chain : undefined
}

/** Returns the ways from and to the neighbours of `range` that live. */
const wayMs = (
  cost: PipelineCost,
  stages: ReadonlyArray<Range & { readonly runner: Runner | undefined }>,
  range: Range,
  { candidate }: Runner
): number => {
  const at = stages.findIndex(({ from }) => from === range.from)
  const around = [stages.at(at - 1), stages[(at + 1) % stages.length]]
  return around.reduce((ms, stage) => {
    const id = stage?.runner?.candidate.id
    return id === undefined || id === candidate.id ? ms : ms + cost.linkMs(id, candidate.id)
  }, 0)
}

const compareRanks = (a: ReadonlyArray<number>, b: ReadonlyArray<number>): number => {
  for (const [index, figure] of a.entries()) {
    const other = b[index] ?? 0
    if (figure !== other) return figure < other ? -1 : 1
  }
  return 0
}

const planned = (
  table: Table,
  { candidates, present }: PlanRequest,
  chain: Chain | undefined,
  isExhaustive: boolean
): Planned => {
  const best = chain === undefined ? [] : substitutes(table.cost, chain, table.capable)
  const [spare] = best
    .filter(({ covers }) => covers.length > 0)
    .map(({ covers, msPerToken, runner }) => {
      const isPresent = runner.candidate.id === present?.spare
      return { runner, covers, rank: [-covers.length, isPresent ? 0 : 1, msPerToken] }
    })
    .sort((a, b) => compareRanks(a.rank, b.rank))
  const bestMs = new Map(best.map(({ msPerToken, runner }) => [runner.candidate.id, msPerToken]))
  const verdictOf = (runner: Runner): Verdict => {
    const out = standing(runner.candidate)
    if (out !== undefined) return out
    if (runner.layersMax === 0) return { kind: "tooLittleMemory", needBytes: table.cost.leastBytes }
    if (chain === undefined) return { kind: "noChain", others: table.capable.length - 1, layers: table.cost.layers }
    if (runner === spare?.runner) return { kind: "spare", covers: spare.covers }
    return inOrOut(table, chain, runner, bestMs.get(runner.candidate.id))
  }
  const explanations = candidates.flatMap(({ id, usableBytes }) => {
    const runner = table.runners.get(id)
    if (runner === undefined) return []
    const { isMeasured, layerMs, layersMax } = runner
    return [{ peer: id, usableBytes, layerMs, isMeasured, layersMax, verdict: verdictOf(runner) }]
  })
  if (chain === undefined) return { plan: undefined, explanations, isExhaustive }
  const stages = chain.stages.map(({ from, runner, to }) => ({ peer: runner.candidate.id, from, to }))
  return {
    plan: { stages, spare: spare?.runner.candidate.id, predicted: chain.predicted },
    explanations,
    isExhaustive
  }
}

/** Returns the verdict on a capable runner; `bestMs` is the chain's time with it, where it can hold a stage. */
const inOrOut = ({ all, cost }: Table, chain: Chain, runner: Runner, bestMs: number | undefined): Verdict => {
  const { stages } = chain
  const chosenMs = chain.predicted.msPerToken
  const index = stages.findIndex((stage) => stage.runner === runner)
  const stage = stages[index]
  if (stage !== undefined && stages.length === 1)
    return { kind: "solo", needBytes: cost.needBytes(all), msPerToken: chosenMs }
  if (stage !== undefined)
    return {
      kind: "stage",
      index,
      range: { from: stage.from, to: stage.to },
      needBytes: cost.needBytes(stage),
      computeMs: cost.computeMs(runner, stage),
      heldLayers: heldLayers(runner.candidate.held, stage)
    }
  if (bestMs === Number.POSITIVE_INFINITY) return { kind: "outOfReach" }
  if (bestMs !== undefined)
    return { kind: bestMs < chosenMs ? "notWorthMoving" : "slower", msPerToken: bestMs, chosenMs }
  if (stages.length === 1) return { kind: "soloElsewhere", needBytes: cost.needBytes(all) }
  return { kind: "fewerStages", leastLayers: Math.min(...stages.map(({ from, to }) => to - from)) }
}

const figure = (value: number): string => (value < 10 ? value.toFixed(2) : value.toFixed(0))
const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`
