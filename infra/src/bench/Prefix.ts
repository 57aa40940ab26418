/**
 * `prefix`: what it is worth to send prompts that begin alike to the peer that has computed that beginning. A mesh of
 * real processes answers tenants whose questions begin with long instructions, once as the entry chooses peers by
 * default and once in turn: the same questions in the same order, each time of an entry and peers that start anew, turn
 * and turn about.
 */
import { join } from "node:path"
import type * as Benchmark from "./Benchmark.ts"
import * as Figures from "./Figures.ts"
import * as Mesh from "./Mesh.ts"
import * as RandomModel from "./model/RandomModel.ts"
import * as Shape from "./model/Shape.ts"
import * as Programs from "./Programs.ts"
import * as Half from "./prefix/Half.ts"
import * as Tenants from "./prefix/Tenants.ts"
import * as Report from "./Report.ts"
import * as Seeded from "./Seeded.ts"

const peers = 3
/** What a peer has unless told otherwise: it keeps as many beginnings, those of answers that run among them. */
const slots = 4

const options = {
  pairs: { byDefault: 3, about: "pairs of the default policy and round-robin" },
  questions: { byDefault: 280, about: "questions of each half" },
  // Two of a peer's slots for the tenants that it has, two for questions that meet another one of their tenant: as many
  // tenants as the peers can keep with about one client each. Taken in turn, each peer would have to keep all six.
  tenants: { byDefault: 6, about: "tenants, each with instructions of 1,000 tokens" },
  clients: { byDefault: 4, about: "clients that ask at once" },
  tokens: { byDefault: 12, about: "tokens of an answer" },
  small: { byDefault: 1, about: "0: a model of 0.29 instead of 0.06 billion parameters" },
  seed: { byDefault: 1, about: "seed of model and questions" }
} as const satisfies Record<string, Benchmark.Option>

/** Measures shared beginnings of prompts. */
export const prefix: Benchmark.Benchmark<keyof typeof options> = {
  name: "prefix",
  about: "shared beginnings of prompts that are found, and answers per second ÷ those of round-robin",
  options,
  minutesMax: (given) => 1 + given.pairs * (1 + (given.questions / 60) * (given.small === 1 ? 1 : 4)),
  run: async (given, tell) => {
    const shape = given.small === 1 ? Shape.small : Shape.medium
    tell(`model ${shape.name}`)
    const models = join(Programs.root, ".weft/bench/models")
    const model = await RandomModel.make(models, shape, given.seed, Mesh.tinyModel)
    const { clients, tokens } = given
    const own: Array<Half.HalfOutcome> = []
    const turns: Array<Half.HalfOutcome> = []
    const halves = [
      { policy: undefined, outcomes: own },
      { policy: "round-robin", outcomes: turns }
    ] as const
    for (let pair = 0; pair < given.pairs; pair++) {
      const questions = Tenants.questionsOf(Seeded.make(given.seed * 1000 + pair), given)
      for (const { outcomes, policy } of pair % 2 === 0 ? halves : halves.toReversed()) {
        const outcome = await Half.ask({ policy, model, peers, slots, clients, tokens, questions })
        outcomes.push(outcome)
        const { again, answersPerSecond, hits } = outcome
        tell(`${policy ?? "default"}: ${hits} of ${again} found, ${answersPerSecond.toFixed(1)} answers/s`)
      }
    }
    const ratioOf = (value: (one: Half.HalfOutcome) => number): number =>
      Figures.ratio(own.map((one, at) => ({ through: value(one), direct: turns[at] ? value(turns[at]) : Number.NaN })))
    const sumOf = (of: (one: Half.HalfOutcome) => number): number => own.reduce((sum, one) => sum + of(one), 0)
    return {
      figures: {
        model: shape.name,
        parameters: Shape.parametersOf(shape),
        peers,
        slots,
        byDefault: own,
        roundRobin: turns
      },
      reach: [
        Report.atLeast(
          "part of the questions, but the first of each tenant, with 9/10 of their prompt cached",
          sumOf(({ hits }) => hits) / sumOf(({ again }) => again),
          0.9
        ),
        Report.atLeast(
          "answers per second ÷ those of round-robin, median",
          ratioOf((one) => one.answersPerSecond),
          2
        ),
        Report.atMost(
          "questions without a whole answer",
          [...own, ...turns].reduce((sum, { lost }) => sum + lost, 0),
          0
        )
      ]
    }
  }
}
