/** `bun run bench` as a command: what it prints, and its exit code. How fast anything is does not matter here. */
import { expect } from "bun:test"
import { Effect, Schema } from "effect"
import { models } from "../engine/asking.ts"
import { it } from "../support/effect.ts"
import { run } from "../support/processes.ts"

const Report = Schema.parseJson(
  Schema.Struct({
    name: Schema.String,
    figures: Schema.Record({ key: Schema.String, value: Schema.Unknown }),
    reach: Schema.NonEmptyArray(
      Schema.Struct({
        what: Schema.String,
        value: Schema.NullOr(Schema.Number),
        goal: Schema.String,
        met: Schema.Boolean
      })
    )
  })
)

const bench = (...args: ReadonlyArray<string>) => run(["run", "infra/src/bench.ts", ...args])

/** Runs a benchmark and checks its one line and its exit code. */
const reportOf = (...args: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const { code, stdout } = yield* bench(...args, "--json")
    expect(stdout.trimEnd()).not.toContain("\n")
    const report = yield* Schema.decode(Report)(stdout)
    expect(report.name).toBe(args[0] ?? "")
    expect(code).toBe(report.reach.every(({ met }) => met) ? 0 : 1)
    return report
  })

const deadlineMs = 90_000

it.live(
  "gateway reports the time added to as many requests as were sent, and the highest rate",
  () =>
    Effect.gen(function* () {
      const { figures, reach } = yield* reportOf(
        ...["gateway", "--seconds", "1", "--closed-seconds", "0.5", "--rounds", "1"]
      )
      expect(figures).toMatchObject({ throughMs: { count: 100 }, plainMs: { count: 100 } })
      expect(reach.map(({ what }) => what)).toEqual([
        "time added at 100 requests/s, ms p50",
        "time added at 100 requests/s, ms p99",
        "requests per second",
        "requests that were not answered with 200"
      ])
    }),
  deadlineMs
)

it.live(
  "start reports the time until an entry listens, from its bundle and from its sources",
  () =>
    Effect.gen(function* () {
      const { figures, reach } = yield* reportOf("start", "--pairs", "1")
      expect(figures).toMatchObject({ bundle: { ms: {} }, sources: { ms: {} } })
      expect(reach.map(({ what }) => what)).toEqual(["start from the bundle ÷ from the sources, median of pairs"])
    }),
  deadlineMs
)

it.live(
  "failover reports what became of every answer whose peer was killed or told to stop",
  () =>
    Effect.gen(function* () {
      const { figures, reach } = yield* reportOf("failover", "--kills", "1", "--leaves", "1")
      expect(figures).toMatchObject({ peers: 3, kills: { count: 1 }, leaves: { count: 1 } })
      expect(reach.length).toBe(8)
      const repeated = reach.filter(({ what }) => what.endsWith("repeated"))
      expect(repeated.map(({ met }) => met)).toEqual([true, true])
    }),
  deadlineMs
)

it.live(
  "activations reports what each type between stages takes and changes, for the files that are named",
  () =>
    Effect.gen(function* () {
      const { figures, reach } = yield* reportOf("activations", "--tokens", "16", models.small)
      expect(figures.models).toMatchObject([
        {
          architecture: "llama",
          outcomes: [
            { type: "f32", agreement: 1, bytesPerToken: 1060 },
            { type: "f16", bytesPerToken: 548 },
            { type: "q8", bytesPerToken: 324 }
          ]
        }
      ])
      expect(reach.length).toBe(1)
    }),
  deadlineMs
)

const tinySplit = ["split", "--small", "1", "--stages-max", "2", "--rtt-max", "0", "--warm", "1"]

it.live(
  "split reports what a token takes over stages, and how much of it they compute",
  () =>
    Effect.gen(function* () {
      const { figures, reach } = yield* reportOf(...tinySplit, ...["--tokens", "8", "--answers", "1"])
      expect(figures).toMatchObject({ cells: [{ stages: 2, rttMs: 0, computeMs: expect.any(Number) }] })
      expect(figures).toMatchObject({ leastHopMs: expect.any(Number) })
      expect(reach.map(({ what }) => what)).toEqual([
        "protocol cost of a hop on loopback, ms, the dearest",
        "of 2 answers, those that the whole model gives otherwise"
      ])
      expect(reach.at(-1)?.met).toBe(true)
    }),
  deadlineMs
)

it.live(
  "split over bad lines, with a stage held up, holds every answer against the whole model's and has no other goal",
  () =>
    Effect.gen(function* () {
      const { figures, reach } = yield* reportOf(
        ...tinySplit,
        ...["--tokens", "24", "--answers", "2"],
        ...["--jitter", "5", "--loss", "2", "--rate", "20", "--throttle", "3"]
      )
      expect(figures).toMatchObject({
        options: { jitter: 5, loss: 2, rate: 20, throttle: 3 },
        cells: [{ stages: 2, msPerToken: expect.any(Number) }],
        answers: { compared: 3, different: 0 },
        datagrams: { forwarded: expect.any(Number), overflowed: 0 }
      })
      expect(reach).toEqual([
        { what: "of 3 answers, those that the whole model gives otherwise", value: 0, goal: "≤ 0", met: true }
      ])
    }),
  deadlineMs
)

it.live(
  "split-failover reports what became of the answers whose stages were killed",
  () =>
    Effect.gen(function* () {
      const { figures, reach } = yield* reportOf("split-failover", ...["--small", "1", "--hot", "1", "--cold", "1"])
      expect(figures).toMatchObject({ hot: { count: 1, errors: [] }, cold: { count: 1, errors: [] } })
      expect(reach.slice(2).map(({ value, what }) => [what, value])).toEqual([
        ["characters lost", 0],
        ["characters repeated", 0],
        ["answers not equal to the uninterrupted one", 0]
      ])
    }),
  deadlineMs
)

it.live(
  "routing reports decisions, what the directory took in, and what became of answers",
  () =>
    Effect.gen(function* () {
      const { figures, reach } = yield* reportOf(
        ...["routing", "--decisions", "500", "--seconds", "1", "--minutes", "1", "--seeds", "3"]
      )
      expect(figures).toMatchObject({
        peers: 500,
        models: 20,
        intake: { heartbeats: 500, samples: 5_000 },
        shared: Array(3).fill({ hits: expect.any(Number) })
      })
      expect(reach.length).toBe(12)
      const simulated = reach.filter(({ what }) => !/decision|processor|late|heap/.test(what))
      expect(simulated.filter(({ met }) => !met)).toEqual([])
    }),
  deadlineMs
)

it.live(
  "prefix reports what was found of shared beginnings, and that nothing was lost, for either way to choose a peer",
  () =>
    Effect.gen(function* () {
      const { figures, reach } = yield* reportOf(
        ...["prefix", "--pairs", "1", "--questions", "10", "--tenants", "2", "--clients", "2", "--tokens", "2"]
      )
      const half = { again: 8, hits: expect.any(Number), answersPerSecond: expect.any(Number), lost: 0 }
      expect(figures).toMatchObject({ peers: 3, slots: 4, byDefault: [half], roundRobin: [half] })
      expect(reach.length).toBe(3)
      expect(reach.at(-1)).toMatchObject({ what: "questions without a whole answer", met: true })
    }),
  deadlineMs
)

it.live("list names every benchmark and its options", () =>
  Effect.gen(function* () {
    const { code, stdout } = yield* bench("list")
    expect(code).toBe(0)
    for (const name of [
      "solo",
      "gateway",
      "failover",
      "load",
      "routing",
      "prefix",
      "--pairs",
      "--kills",
      "--soak",
      "MODEL.gguf"
    ]) {
      expect(stdout).toContain(name)
    }
  })
)

it.live("a benchmark or an option that does not exist is wrong usage", () =>
  Effect.gen(function* () {
    for (const args of [["fast"], ["solo", "--speed", "1"], ["solo", "--pairs", "many"], ["solo", "model.gguf"]]) {
      const { code, stderr, stdout } = yield* bench(...args)
      expect([code, stdout]).toEqual([2, ""])
      expect(stderr).toContain("solo")
    }
  })
)
