/**
 * `routing`: what a decision costs with many peers and models, what the directory and the measurements take in, what
 * routing does to answers: prompts that begin alike, a peer that slows down, one that flaps. The last three in virtual
 * time, over several seeds, next to other policies.
 */
import type { PolicyName } from "@weft/entry/routing/Policies"
import type * as Benchmark from "./Benchmark.ts"
import * as Figures from "./Figures.ts"
import * as Report from "./Report.ts"
import * as Decisions from "./routing/Decisions.ts"
import * as Intake from "./routing/Intake.ts"
import * as Scenarios from "./routing/Scenarios.ts"

const policy: PolicyName = "predicted-ttft"

const options = {
  decisions: { byDefault: 50_000, about: "decisions that are timed" },
  seconds: { byDefault: 20, about: "seconds of heartbeats and samples" },
  minutes: { byDefault: 70, about: "minutes of samples before, at once; an hour is kept" },
  seeds: { byDefault: 5, about: "runs of each simulation" }
} as const satisfies Record<string, Benchmark.Option>

/** Measures routing. */
export const routing: Benchmark.Benchmark<keyof typeof options> = {
  name: "routing",
  about: "time of a decision, what the directory takes in, and what routing does to answers",
  options,
  minutesMax: (given) => 2 + given.seconds / 30 + given.minutes / 30 + given.seeds / 10 + given.decisions / 100_000,
  run: async (given, tell) => {
    tell("decisions")
    const times = Decisions.decide(policy, given.decisions, 1)
    tell("heartbeats and samples")
    const intake = await Intake.takeIn(given.seconds, given.minutes, 1)
    tell("simulations")
    const seeds = Array.from({ length: given.seeds }, (_, at) => at + 1)
    const shared = seeds.map((seed) => Scenarios.sharedPrefixes(policy, seed))
    const turns = seeds.map((seed) => Scenarios.sharedPrefixes("round-robin", seed))
    const slow = seeds.map((seed) => Scenarios.slowPeer(policy, seed))
    const flap = seeds.map((seed) => Scenarios.flappingPeer(policy, seed))
    const split = seeds.map((seed) => Scenarios.splitBeside(policy, seed)[2] ?? 0)
    const [heapBefore, heapAfter] = intake.heapBytes
    const choose = threeOf(times.chooseUs)
    const hits = Figures.median(shared.map((one) => one.hits))
    const ratio = Figures.ratio(
      shared.map((one, at) => ({ through: one.answersPerSecond, direct: turns[at]?.answersPerSecond ?? Number.NaN }))
    )
    return {
      figures: {
        peers: Decisions.peerCount,
        models: Decisions.modelCount,
        chooseUs: choose,
        decideUs: threeOf(times.decideUs),
        readPromptUs: threeOf(times.readUs),
        intake,
        shared,
        roundRobin: turns,
        slow,
        flap
      },
      reach: [
        Report.atMost("time of a decision, µs p50", choose.p50, 50),
        Report.atMost("time of a decision, µs p99", choose.p99, 200),
        Report.atMost("part of a processor for 500 heartbeats/s and 5,000 samples/s", intake.processorPart, 1),
        Report.atMost("how late the last of them was taken in, ms", intake.lateMs, 200),
        Report.atMost("growth of the heap meanwhile, as a factor", heapAfter / heapBefore, 1.1),
        Report.atLeast("part of shared beginnings that were found, median", hits, 0.9),
        Report.atLeast("answers per second ÷ those of round-robin, median", ratio, 2),
        Report.atMost("seconds until a slow peer lost its part, the longest", most(slow, "lostAfterSeconds"), 10),
        Report.atMost("seconds until it had it again, the longest", most(slow, "regainedAfterSeconds"), 60),
        Report.atMost("times its part went and came, the most", most(slow, "turns"), 4),
        Report.atMost("p95 TTFT beside a flapping peer ÷ without it, median", Figures.median(flap.map(slowdown)), 1.2),
        Report.atMost("answers given to a split beside whole models", Math.max(...split), 0)
      ]
    }
  }
}

// internal

const most = <Key extends string>(all: ReadonlyArray<Readonly<Record<Key, number>>>, key: Key): number =>
  Math.max(...all.map((one) => one[key]))

const slowdown = ({ ttftMsP95, ttftMsP95Without }: Scenarios.FlapOutcome): number => ttftMsP95 / ttftMsP95Without

const threeOf = (values: ReadonlyArray<number>) => ({
  p50: Figures.quantile(values, 0.5),
  p90: Figures.quantile(values, 0.9),
  p99: Figures.quantile(values, 0.99)
})
