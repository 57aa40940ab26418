/**
 * `split-rpc`: a split beside llama.cpp's RPC, which pays a round trip for each remote machine and token. Both have the
 * same model on as many machines as far apart, one thread each, and answer in turn, so that each answer of ours has one
 * of RPC's beside it. Guesses are compared on text that can be guessed.
 */
import { basename, join } from "node:path"
import type * as Benchmark from "./Benchmark.ts"
import * as Figures from "./Figures.ts"
import * as Mesh from "./Mesh.ts"
import * as RandomModel from "./model/RandomModel.ts"
import * as Shape from "./model/Shape.ts"
import * as Programs from "./Programs.ts"
import * as Report from "./Report.ts"
import * as Seeded from "./Seeded.ts"
import * as Asking from "./split/Asking.ts"
import * as LlamaCpp from "./split/LlamaCpp.ts"
import * as Ring from "./split/Ring.ts"
import * as RpcMachines from "./split/RpcMachines.ts"

/** Round trips between machines, ms: one room, a city, a country. */
const roundTripsMs = [0, 10, 50]
/** Where the goals are. */
const goalRttMs = 50
/** Least tokens per second ÷ RPC's, by machines: RPC's second round trip is what a ring saves with three. */
const goals: Readonly<Record<number, number>> = { 2: 1, 3: 1.3 }
/** The same where answers can be guessed. */
const guessedGoal = 2
/** Holds the prompts and answers here. */
const contextTokens = 1024
/** Tokens before those that count: the first hops are half a millisecond slower, as code is compiled while it runs. */
const warmTokens = 768

/**
 * What RPC did on another day with a model of 0.25 billion parameters, in tokens per second by machines and round trip:
 * figures to look at, not to compare with.
 */
const earlier: Readonly<Record<number, Readonly<Record<number, number>>>> = {
  2: { 0: 129, 10: 52.4, 50: 16.9 },
  3: { 0: 113, 10: 34.4, 50: 9.06 }
}

const options = {
  pairs: { byDefault: 3, about: "answers of each, in turn" },
  tokens: { byDefault: 32, about: "tokens of an answer" },
  small: { byDefault: 0, about: "1: a model of 0.06 instead of 0.29 billion parameters" },
  "machines-min": { byDefault: 2, about: "fewest machines" },
  "machines-max": { byDefault: 3, about: "most machines" },
  "rtt-min": { byDefault: 0, about: "shortest round trip, ms" },
  "rtt-max": { byDefault: 50, about: "longest round trip, ms" },
  seed: { byDefault: 1, about: "seed of model and prompts" }
} as const satisfies Record<string, Benchmark.Option>

type Options = Readonly<Record<keyof typeof options, number>>

/** Measures splits beside llama.cpp's RPC. */
export const splitRpc: Benchmark.Benchmark<keyof typeof options> = {
  name: "split-rpc",
  about: "tokens per second of a split model ÷ those of llama.cpp's RPC, which is built first",
  options,
  // Most of it is the build, once.
  minutesMax: (given) => 45 + (given.tokens * given.pairs) / 6,
  run: async (given, tell) => {
    const shape = given.small === 1 ? Shape.small : Shape.medium
    const directory = join(Programs.root, ".weft/bench")
    const llamaCpp = await LlamaCpp.make(directory, tell)
    const model = await RandomModel.make(join(directory, "models"), shape, given.seed, Mesh.tinyModel)
    const cells: Array<Cell> = []
    for (let machines = given["machines-min"]; machines <= given["machines-max"]; machines++) {
      for (const rttMs of roundTripsMs.filter((ms) => ms >= given["rtt-min"] && ms <= given["rtt-max"])) {
        for (const speculates of rttMs === goalRttMs ? [false, true] : [false]) {
          tell(`${machines} machines at ${rttMs} ms${speculates ? ", guessing" : ""}`)
          const place = { machines, rttMs, speculates }
          cells.push(await compare({ ...place, llamaCpp, model, layers: shape.layers, given }))
        }
      }
    }
    const rpc = { release: llamaCpp.release, earlierPerSecond: earlier }
    return { figures: { model: shape.name, cells, rpc }, reach: cells.flatMap(reachOf) }
  }
}

// internal

/** Machines at a distance, and what both did there. */
interface Cell {
  readonly machines: number
  readonly rttMs: number
  readonly speculates: boolean
  readonly perSecond: Figures.Spread
  readonly rpcPerSecond: Figures.Spread
  readonly ratios: ReadonlyArray<number>
  readonly ratio: number
}

interface Place extends RpcMachines.RpcOptions {
  readonly speculates: boolean
  readonly given: Options
}

/** Answers in turn, ours and RPC's: what slows this computer down for a while slows both. */
const compare = async (place: Place): Promise<Cell> => {
  const { given, layers, machines, model, rttMs, speculates } = place
  const rpc = await RpcMachines.start(place)
  const of = { model, layers, stages: machines, rttMs, speculates, slots: 1, contextTokens, spares: 0 }
  const ring = await Ring.start(of)
  try {
    const asking = Asking.make(ring, basename(model, ".gguf"), Seeded.make(given.seed))
    // Guessing needs some of an answer to guess from.
    const question = speculates ? { maxTokens: 2 * given.tokens, words: 1 } : { maxTokens: given.tokens }
    const ours = async (): Promise<number> => 1000 / (await asking.msPerToken(question))
    for (let tokens = 0; tokens < warmTokens; tokens += question.maxTokens) await ours()
    const pairs: Array<Figures.Pair> = []
    for (let pair = 0; pair < given.pairs; pair++) {
      const first = pair % 2 === 0 ? await ours() : Number.NaN
      const direct = await rpc.perSecond(question.maxTokens)
      pairs.push({ direct, through: pair % 2 === 0 ? first : await ours() })
    }
    return {
      ...{ machines, rttMs, speculates },
      perSecond: Figures.spread(pairs.map(({ through }) => through)),
      rpcPerSecond: Figures.spread(pairs.map(({ direct }) => direct)),
      ratios: pairs.map(({ direct, through }) => through / direct),
      ratio: Figures.ratio(pairs)
    }
  } finally {
    await Promise.all([ring.stop(), rpc.stop()])
  }
}

const reachOf = ({ machines, ratio, rttMs, speculates }: Cell): ReadonlyArray<Report.Reach> => {
  const goal = speculates ? guessedGoal : goals[machines]
  if (rttMs !== goalRttMs || goal === undefined) return []
  const what = speculates ? "guessed tokens per second of draftable text" : "tokens per second"
  return [Report.atLeast(`${what} ÷ llama.cpp RPC, ${machines} machines at ${rttMs} ms`, ratio, goal)]
}
