/**
 * Finds the fastest chain of stages among peers. Pure. At most `shortlistMax` peers are looked at, chosen by estimates;
 * among them branch and bound goes over every order, and for each order dynamic programming over every cut: exact
 * unless `stepsMax` runs out, which the answer tells. Whoever was not looked at may still take a stage over in the end.
 */
import type { PeerId } from "@weft/mesh/PeerId"
import {
  type Chain,
  chainOf,
  heldLayers,
  type PipelineCost,
  type Placed,
  type Range,
  type Runner
} from "./PipelineCost.ts"

/** Times within this factor are the same: measurements of milliseconds per layer differ by as much from day to day. */
export const tieFactor = 1.05

/** Peers looked at, and so the most stages: of 12, a dozen round trips make a token slower than anybody waits for. */
export const shortlistMax = 12
/** Peers whose ways to one another are compared before that. */
const neighboursMax = 64
/** So many of those are the largest ones, lest fast and small peers crowd out the only ones that hold the model. */
const largeMax = 16
/** One way between two homes of a continent, to compare memory with speed before ways are looked at. */
const typicalLinkMs = 15
/** Boundaries that one walk computes: some 30 ms of a slow core; seven times as many found chains 3 % faster. */
const stepsMax = 300_000

/** Represents what is searched for. */
export interface SearchOptions {
  readonly stagesMin: number
  /** Layers each peer has already; a few milliseconds (within `tieFactor`) are given for not moving any. */
  readonly held: (runner: Runner) => ReadonlyArray<Range>
  /** Peers that are looked at whatever their estimate. */
  readonly kept: ReadonlySet<PeerId>
}

/** Represents the best place of a runner in a chain that it is not in. */
export interface Substitute {
  readonly runner: Runner
  /** The stage it would take over. */
  readonly index: number
  /** Infinite where it can reach the neighbours of none that it can hold. */
  readonly msPerToken: number
  /** All stages it could take over. */
  readonly covers: ReadonlyArray<number>
}

/**
 * Returns the fastest chain; of those within `tieFactor` one with the fewest stages, and of those the one that is
 * fastest when each layer that must be moved costs its share of what is left of the factor. None where no chain holds
 * the model. `isExhaustive` is false where peers or orders were left out.
 */
export const search = (
  cost: PipelineCost,
  runners: ReadonlyArray<Runner>,
  options: SearchOptions
): { readonly chain: Chain | undefined; readonly isExhaustive: boolean } => {
  const listed = shortlist(cost, runners, options.kept)
  const pool = poolOf(cost, listed)
  const walk = new Walk(cost, pool, { stagesMin: options.stagesMin, stagesMax: shortlistMax })
  const free = walk.run()
  const isWide = walk.isExhaustive && listed === runners
  if (free === undefined) return { chain: undefined, isExhaustive: isWide }
  const { chain, isExhaustive } = sticky(cost, pool, options, free)
  return { chain: improved(cost, chain, runners), isExhaustive: isWide && isExhaustive }
}

/** Returns `chain` with stages given to others as long as one of `runners` makes it faster by more than a tie. */
export const improved = (cost: PipelineCost, chain: Chain, runners: ReadonlyArray<Runner>): Chain => {
  let better = chain
  for (let round = 0; round < shortlistMax; round++) {
    const fastest = substitutes(cost, better, runners).reduce<Substitute | undefined>(
      (chosen, next) => (chosen === undefined || next.msPerToken < chosen.msPerToken ? next : chosen),
      undefined
    )
    if (fastest === undefined || fastest.msPerToken * tieFactor >= better.predicted.msPerToken) return better
    const { index, runner } = fastest
    const stages = better.stages.map((stage, at) => (at === index ? { ...stage, runner } : stage))
    better = chainOf(cost, stages)
  }
  return better
}

/** Returns, for each runner outside of `chain` that can hold one of its ranges, where it does least harm. */
export const substitutes = (
  cost: PipelineCost,
  { predicted, stages }: Chain,
  runners: ReadonlyArray<Runner>
): ReadonlyArray<Substitute> => {
  const inside = new Set(stages.map(({ runner }) => runner.candidate.id))
  const count = stages.length
  const around = stages.map((stage, index) => {
    const before = stages[(index + count - 1) % count] ?? stage
    const after = stages[(index + 1) % count] ?? stage
    const ways = (id: PeerId): number =>
      count === 1 ? 0 : cost.linkMs(before.runner.candidate.id, id) + cost.linkMs(id, after.runner.candidate.id)
    const without = predicted.msPerToken - cost.computeMs(stage.runner, stage) - ways(stage.runner.candidate.id)
    return { index, stage, ways, without }
  })
  return runners.flatMap((runner) => {
    if (inside.has(runner.candidate.id)) return []
    const places = around.flatMap(({ index, stage, ways, without }) =>
      cost.fits(runner.candidate, stage)
        ? [{ index, msPerToken: without + cost.computeMs(runner, stage) + ways(runner.candidate.id) }]
        : []
    )
    const [first] = places
    if (first === undefined) return []
    const best = places.reduce((chosen, next) => (next.msPerToken < chosen.msPerToken ? next : chosen), first)
    const covers = places.filter(({ msPerToken }) => msPerToken < Number.POSITIVE_INFINITY).map(({ index }) => index)
    return [{ runner, ...best, covers }]
  })
}

// internal

/** Returns at most `shortlistMax` of the runners in their order: those kept, and the best group around one of them. */
const shortlist = (
  cost: PipelineCost,
  runners: ReadonlyArray<Runner>,
  kept: ReadonlySet<PeerId>
): ReadonlyArray<Runner> => {
  if (runners.length <= shortlistMax) return runners
  const near = neighbours(cost, runners)
  const largest = { runners: ordered(runners, ({ layersMax }) => -layersMax), ms: Number.POSITIVE_INFINITY }
  const best = near
    .map((center) => group(cost, center, near))
    .reduce((chosen, next) => (next.ms < chosen.ms ? next : chosen), largest)
  const stay = runners.filter(({ candidate }) => kept.has(candidate.id))
  const listed = new Set([...stay, ...best.runners].slice(0, shortlistMax))
  return runners.filter((runner) => listed.has(runner))
}

/** Returns the runners whose ways are compared: mostly the fastest ones for what they hold, some of the largest. */
const neighbours = (cost: PipelineCost, runners: ReadonlyArray<Runner>): ReadonlyArray<Runner> => {
  if (runners.length <= neighboursMax) return runners
  const fast = ordered(runners, (runner) => estimateMs(cost, runner, typicalLinkMs))
  const large = ordered(runners, ({ layersMax }) => -layersMax).slice(0, largeMax)
  return [...new Set([...large, ...fast])].slice(0, neighboursMax)
}

/** Returns the runners best placed around `center`, and the time of a chain of the first of them. */
const group = (cost: PipelineCost, center: Runner, near: ReadonlyArray<Runner>) => {
  const wayMs = (runner: Runner): number =>
    runner === center ? 0 : cost.linkMs(center.candidate.id, runner.candidate.id)
  const others = near.filter((runner) => runner !== center)
  const runners = [center, ...ordered(others, (runner) => estimateMs(cost, runner, wayMs(runner)))]
  const members = runners.slice(0, shortlistMax)
  let [left, ms] = [cost.layers, 0]
  for (const runner of members) {
    if (left <= 0) break
    const layers = Math.min(left, runner.layersMax)
    ms += layers * runner.layerMs + wayMs(runner)
    left -= layers
  }
  return { runners: members, ms: left > 0 ? Number.POSITIVE_INFINITY : ms }
}

/** Returns the time of a chain of nothing but twins of the runner. */
const estimateMs = (cost: PipelineCost, { layerMs, layersMax }: Runner, linkMs: number): number =>
  cost.layers * layerMs + Math.ceil(cost.layers / layersMax) * linkMs

const ordered = (runners: ReadonlyArray<Runner>, figureOf: (runner: Runner) => number): ReadonlyArray<Runner> =>
  runners
    .map((runner, index) => ({ runner, index, figure: figureOf(runner) }))
    .sort((a, b) => (a.figure < b.figure ? -1 : a.figure > b.figure ? 1 : a.index - b.index))
    .map(({ runner }) => runner)

/** Searches again among chains of as many stages, now with a price on layers that must be moved. */
const sticky = (
  cost: PipelineCost,
  pool: Pool,
  { held }: SearchOptions,
  { chain, fastestMs }: Free
): { readonly chain: Chain; readonly isExhaustive: boolean } => {
  const ranges = pool.runners.map(held)
  const priceMs = (fastestMs * tieFactor - chain.predicted.msPerToken) / cost.layers
  if (priceMs <= 0 || ranges.every((range) => range.length === 0)) return { chain, isExhaustive: true }
  const missing = pool.runners.map((_, index) => {
    const before = new Float64Array(cost.layers + 1)
    for (let layer = 0; layer < cost.layers; layer++)
      before[layer + 1] = (before[layer] ?? 0) + 1 - heldLayers(ranges[index] ?? [], { from: layer, to: layer + 1 })
    return cost.boundaries.map((layer) => (before[layer] ?? 0) * priceMs)
  })
  const count = chain.stages.length
  const walk = new Walk(cost, pool, { stagesMin: count, stagesMax: count, extraMs: missing })
  const found = walk.run()?.chain
  const isTie = found !== undefined && found.predicted.msPerToken <= fastestMs * tieFactor
  return { chain: isTie ? found : chain, isExhaustive: walk.isExhaustive }
}

/** Represents peers with what a walk looks up for each step. */
interface Pool {
  readonly runners: ReadonlyArray<Runner>
  /** One way from each to each, row by row. */
  readonly links: Float64Array
  readonly linkMsMin: number
  /** Indexes, the fastest first; and those with the most room first. */
  readonly fastest: ReadonlyArray<number>
  readonly largest: ReadonlyArray<number>
}

const poolOf = (cost: PipelineCost, runners: ReadonlyArray<Runner>): Pool => {
  const count = runners.length
  const links = new Float64Array(count * count)
  let linkMsMin = Number.POSITIVE_INFINITY
  for (const [from, { candidate }] of runners.entries())
    for (const [to, other] of runners.entries()) {
      if (from === to) continue
      const linkMs = cost.linkMs(candidate.id, other.candidate.id)
      links[from * count + to] = linkMs
      linkMsMin = Math.min(linkMsMin, linkMs)
    }
  const by = (figureOf: (runner: Runner) => number): ReadonlyArray<number> =>
    ordered(runners, figureOf).map((runner) => runners.indexOf(runner))
  return {
    runners,
    links,
    linkMsMin,
    fastest: by(({ layerMs }) => layerMs),
    largest: by(({ layersMax }) => -layersMax)
  }
}

/** Represents the ends that the first stages of a chain can have, each with its least time and where it began. */
interface Step {
  readonly index: number
  readonly used: number
  readonly stages: number
  readonly host: number
  readonly leastMs: Float64Array
  readonly began: Uint16Array
  readonly before: Step | undefined
}

/** Represents what a walk finds: the chain to choose, and the time of the fastest of any number of stages. */
interface Free {
  readonly chain: Chain
  readonly fastestMs: number
}

interface WalkOptions {
  readonly stagesMin: number
  readonly stagesMax: number
  /** For each runner, what the layers before each boundary cost besides. */
  readonly extraMs?: ReadonlyArray<ReadonlyArray<number>>
}

/**
 * One walk over all orders. A step puts one more peer behind the others and computes, for every boundary, the least
 * time of the stages so far: a sliding minimum, as a peer's time is linear in its layers. Ends from which even the
 * fastest free peers, at the shortest ways, cannot beat what is known are struck.
 */
class Walk {
  readonly #weights: ReadonlyArray<Float64Array>
  /** The least time of a chain by its number of stages. */
  readonly #least: Array<number> = []
  readonly #last: Array<Step> = []
  readonly #queue: Uint16Array
  #fastestMs = Number.POSITIVE_INFINITY
  #steps = 0

  constructor(
    private readonly cost: PipelineCost,
    private readonly pool: Pool,
    private readonly options: WalkOptions
  ) {
    const { boundaries, headLayers, layers } = cost
    this.#queue = new Uint16Array(boundaries.length)
    this.#weights = pool.runners.map(({ layerMs }, index) =>
      Float64Array.from(
        boundaries,
        (layer, at) => layerMs * (layer + (layer === layers ? headLayers : 0)) + (options.extraMs?.[index]?.[at] ?? 0)
      )
    )
  }

  get isExhaustive(): boolean {
    return this.#steps < stepsMax
  }

  run(): Free | undefined {
    this.#visit(undefined)
    const stages = this.#least.findIndex((leastMs) => leastMs <= this.#fastestMs * tieFactor)
    const last = this.#last[stages]
    return last === undefined ? undefined : { chain: this.#chain(last), fastestMs: this.#fastestMs }
  }

  #visit(before: Step | undefined): void {
    const next: Array<{ readonly step: Step; readonly boundMs: number }> = []
    for (const index of this.pool.runners.keys()) {
      if (((before?.used ?? 0) & (1 << index)) !== 0 || this.#steps >= stepsMax) continue
      const step = this.#extend(before, index)
      this.#close(step)
      if (step.stages === this.options.stagesMax) continue
      const boundMs = this.#strike(step)
      if (boundMs < Number.POSITIVE_INFINITY) next.push({ step, boundMs })
    }
    next.sort((a, b) => a.boundMs - b.boundMs || a.step.index - b.step.index)
    for (const { boundMs, step } of next) if (boundMs < this.#limitMs(step.stages + 1)) this.#visit(step)
  }

  /** A chain of more stages must beat those of fewer, and one that no tie makes the fastest is never chosen. */
  #limitMs(stages: number): number {
    let limitMs = this.#fastestMs * tieFactor
    for (let fewer = 1; fewer <= stages; fewer++) limitMs = Math.min(limitMs, this.#least[fewer] ?? limitMs)
    return limitMs
  }

  #extend(before: Step | undefined, index: number): Step {
    const count = this.cost.boundaries.length
    const leastMs = new Float64Array(count).fill(Number.POSITIVE_INFINITY)
    const began = new Uint16Array(count)
    const weights = this.#weights[index] ?? leastMs
    const starts = this.pool.runners[index]?.starts ?? began
    const linkMs = before === undefined ? 0 : this.#link(before.index, index)
    const queue = this.#queue
    const keyOf = (at: number): number =>
      (before === undefined ? (at === 0 ? 0 : Number.POSITIVE_INFINITY) : (before.leastMs[at] ?? 0)) -
      (weights[at] ?? 0)
    let [head, tail] = [0, 0]
    for (let end = 1; end < count; end++) {
      const key = keyOf(end - 1)
      if (key < Number.POSITIVE_INFINITY) {
        while (tail > head && keyOf(queue[tail - 1] ?? 0) > key) tail--
        queue[tail++] = end - 1
      }
      while (head < tail && (queue[head] ?? 0) < (starts[end] ?? 0)) head++
      if (head === tail) continue
      const start = queue[head] ?? 0
      began[end] = start
      leastMs[end] = keyOf(start) + linkMs + (weights[end] ?? 0)
    }
    this.#steps += count
    const { host = index, stages = 0, used = 0 } = before ?? {}
    return { index, used: used | (1 << index), stages: stages + 1, host, leastMs, began, before }
  }

  #close(step: Step): void {
    if (step.stages < this.options.stagesMin) return
    const ms = (step.leastMs.at(-1) ?? 0) + (step.stages === 1 ? 0 : this.#link(step.index, step.host))
    if (!(ms < this.#limitMs(step.stages))) return
    this.#least[step.stages] = ms
    this.#last[step.stages] = step
    this.#fastestMs = Math.min(this.#fastestMs, ms)
  }

  /** Strikes the ends of `step` that lead nowhere; returns the least time that one of the others may lead to. */
  #strike({ host, index, leastMs, stages, used }: Step): number {
    const { boundaries, layers } = this.cost
    const { linkMsMin, runners } = this.pool
    const isFree = (other: number): boolean => (used & (1 << other)) === 0
    const fastest = this.pool.fastest.filter(isFree)
    const largest = this.pool.largest.filter(isFree)
    const there = Math.min(...fastest.map((other) => this.#link(index, other)))
    const back = Math.min(...fastest.map((other) => this.#link(other, host)))
    const headMs = this.cost.headLayers * (runners[fastest[0] ?? 0]?.layerMs ?? 0)
    const limitMs = this.#limitMs(stages + 1)
    let leastBoundMs = Number.POSITIVE_INFINITY
    let [at, held, heldMs, more, room] = [0, 0, 0, 0, 0]
    for (let end = boundaries.length - 2; end > 0; end--) {
      const left = layers - (boundaries[end] ?? 0)
      for (let one = runners[fastest[at] ?? -1]; one !== undefined && held + one.layersMax < left; ) {
        held += one.layersMax
        heldMs += one.layersMax * one.layerMs
        one = runners[fastest[++at] ?? -1]
      }
      while (more < largest.length && room < left) room += runners[largest[more++] ?? 0]?.layersMax ?? 0
      const last = runners[fastest[at] ?? -1]
      const computeMs = last === undefined ? Number.POSITIVE_INFINITY : heldMs + (left - held) * last.layerMs
      const boundMs = (leastMs[end] ?? 0) + computeMs + headMs + there + back + (more - 1) * linkMsMin
      if (boundMs < limitMs) leastBoundMs = Math.min(leastBoundMs, boundMs)
      else leastMs[end] = Number.POSITIVE_INFINITY
    }
    return leastBoundMs
  }

  #link(from: number, to: number): number {
    return this.pool.links[from * this.pool.runners.length + to] ?? 0
  }

  #chain(last: Step): Chain {
    const stages: Array<Placed> = []
    let end = this.cost.boundaries.length - 1
    for (let step: Step | undefined = last; step !== undefined; step = step.before) {
      const start = step.began[end] ?? 0
      const runner = this.pool.runners[step.index]
      if (runner !== undefined)
        stages.unshift({ runner, from: this.cost.boundaries[start] ?? 0, to: this.cost.boundaries[end] ?? 0 })
      end = start
    }
    return chainOf(this.cost, stages)
  }
}
