/**
 * `solo`: what going through entry, QUIC and peer costs, against the same library with the same settings driven
 * directly in a process of its own. Each figure is a median over pairs, both halves one right after the other, turn
 * and turn about. No prompt comes twice, so that no cache answers for the engine, but where the cache is what is
 * measured.
 */
import { join } from "node:path"
import { hostEnvironment } from "@weft/engine/HostEnvironment"
import type * as Benchmark from "./Benchmark.ts"
import * as Figures from "./Figures.ts"
import * as ChatStream from "./http/ChatStream.ts"
import * as Mesh from "./Mesh.ts"
import * as RandomModel from "./model/RandomModel.ts"
import * as Shape from "./model/Shape.ts"
import * as ProcessFigures from "./ProcessFigures.ts"
import * as Programs from "./Programs.ts"
import * as Report from "./Report.ts"
import * as Seeded from "./Seeded.ts"
import { measureCompetitor } from "./solo/Busy.ts"
import type { DirectQuestion, DirectReply } from "./solo/Direct.ts"
import { makeProbe, type Probe } from "./solo/Probe.ts"

/** Streams at once; the peer has as many slots. */
const streamsMax = 8
/** Tokens of one sequence: prompts and answers here are far shorter, and cells cost memory. */
const contextTokens = 1024

/** Answers before anything is measured. */
const warmUpRounds = 3

const options = {
  pairs: { byDefault: 7, about: "pairs of decode runs with one stream" },
  "ttft-pairs": { byDefault: 40, about: "pairs of first tokens" },
  "stream-pairs": { byDefault: 5, about: "pairs with 1, 4 and 8 streams" },
  "busy-pairs": { byDefault: 5, about: "pairs beside a busy neighbour" },
  turns: { byDefault: 3, about: "chats with a second turn" },
  tokens: { byDefault: 128, about: "tokens of an answer" },
  threads: { byDefault: 1, about: "compute threads on both sides" },
  small: { byDefault: 0, about: "1: a model of 0.06 instead of 0.29 billion parameters" },
  seed: { byDefault: 1, about: "seed of model and prompts" }
} as const satisfies Record<string, Benchmark.Option>

type Options = Readonly<Record<keyof typeof options, number>>

/** Measures the solo path. */
export const solo: Benchmark.Benchmark<keyof typeof options> = {
  name: "solo",
  about: "decode rate and time to first token through the mesh ÷ the library driven directly",
  options,
  minutesMax: (given) =>
    3 + (given.pairs + given["ttft-pairs"] / 10 + given["stream-pairs"] * 6 + given["busy-pairs"] + given.turns) / 2,
  run: async (given, tell) => {
    const shape = given.small === 1 ? Shape.small : Shape.medium
    tell(`model ${shape.name}`)
    const models = join(Programs.root, ".weft/bench/models")
    const path = await RandomModel.make(models, shape, given.seed, Mesh.tinyModel)
    const entry = await Mesh.startEntry()
    const slots = streamsMax
    const peer = await Mesh.startPeer({ url: entry.url, model: path, slots, threads: given.threads, contextTokens })
    const direct = Programs.startAsked<DirectQuestion, DirectReply>(join(import.meta.dir, "solo/Direct.ts"), {
      environment: hostEnvironment
    })
    await direct.ask({ kind: "open", path, contextTokens, slots, threads: given.threads })
    const probe = makeProbe(entry, path, direct, Seeded.make(given.seed))
    await warmUp(probe, given)

    const [served] = (await Mesh.statusOf(peer)).models
    const decode = await measureDecode(probe, given, tell, [
      ["engineHost", served?.processId ?? Number.NaN],
      ["peer", peer.program.pid],
      ["entry", entry.program.pid],
      ["direct", direct.pid]
    ])
    const first = await measureFirst(probe, given, tell)
    const streams = await measureStreams(probe, given, tell)
    const turns = await measureTurns(probe, given, tell)
    await Mesh.stop(peer)
    const busy = await measureCompetitor({ entry, path, contextTokens, direct, given, tell })
    return {
      figures: {
        model: shape.name,
        parameters: Shape.parametersOf(shape),
        decode: decode.figures,
        firstToken: first.figures,
        streams: streams.figures,
        secondTurn: turns.figures,
        busyNeighbour: busy.figures
      },
      reach: [decode, first, streams, turns, busy].flatMap(({ reach }) => reach)
    }
  }
}

// internal

type Part = Pick<Report.Report, "figures" | "reach">
type Tell = (line: string) => void

/** Both sides have read the weights, and compiled what runs once a token: code is compiled while it runs. */
const warmUp = async (probe: Probe, { tokens }: Options): Promise<void> => {
  for (let round = 0; round < warmUpRounds; round++) {
    const prompt = probe.prompt()
    await probe.through(prompt, tokens)
    await probe.direct(prompt, tokens)
  }
}

/** Runs both halves of `count` pairs, in turn the one and the other first. */
const pairs = async <A, B>(
  count: number,
  through: (index: number) => Promise<A>,
  direct: (index: number) => Promise<B>
): Promise<ReadonlyArray<readonly [A, B]>> => {
  const measured: Array<readonly [A, B]> = []
  for (let index = 0; index < count; index++) {
    if (index % 2 === 0) measured.push([await through(index), await direct(index)])
    else {
      const second = await direct(index)
      measured.push([await through(index), second])
    }
  }
  return measured
}

/** `processes` are those whose processor time is counted; waiting for one another takes none. */
const measureDecode = async (
  probe: Probe,
  given: Options,
  tell: Tell,
  processes: ReadonlyArray<readonly [name: string, pid: number]>
): Promise<Part> => {
  tell("decode, one stream")
  const before = processes.map(([, pid]) => ProcessFigures.processorMs(pid))
  const prompts = Array.from({ length: given.pairs }, () => probe.prompt())
  const measured = await pairs(
    given.pairs,
    (index) => probe.through(prompts[index] ?? "", given.tokens),
    (index) => probe.direct(prompts[index] ?? "", given.tokens)
  )
  const processorMsPerToken = processes.map(([name, pid], index) => [
    name,
    (ProcessFigures.processorMs(pid) - (before[index] ?? 0)) / (given.pairs * given.tokens)
  ])
  const rates = measured.map(([answer, reply]) => ({
    through: ChatStream.decodeRate(answer),
    direct: (reply.tokens - 1) / ((reply.lastMs - reply.firstMs) / 1000)
  }))
  return {
    figures: {
      throughTokensPerSecond: Figures.spread(rates.map(({ through }) => through)),
      directTokensPerSecond: Figures.spread(rates.map(({ direct }) => direct)),
      ratios: rates.map(({ direct, through }) => through / direct),
      processorMsPerToken: Object.fromEntries(processorMsPerToken)
    },
    reach: [Report.atLeast("decode through the mesh ÷ direct, 1 stream", Figures.ratio(rates), 0.98)]
  }
}

const measureFirst = async (probe: Probe, given: Options, tell: Tell): Promise<Part> => {
  tell("first token, one stream")
  const count = given["ttft-pairs"]
  const prompts = Array.from({ length: count }, () => probe.prompt())
  const measured = await pairs(
    count,
    (index) => probe.through(prompts[index] ?? "", 2),
    (index) => probe.direct(prompts[index] ?? "", 2)
  )
  const isOther = measured.some(([answer, reply]) => answer.usage?.promptTokens !== reply.promptTokens)
  if (isOther) throw new Error("the mesh and the library made different tokens of the same prompt")
  const through = measured.map(([answer]) => ChatStream.firstTextMs(answer))
  const direct = measured.map(([, reply]) => reply.firstMs)
  const added = through.map((ms, index) => ms - (direct[index] ?? Number.NaN))
  return {
    figures: {
      promptTokens: Figures.spread(measured.map(([, { promptTokens }]) => promptTokens)),
      cachedTokensMax: Math.max(...measured.map(([answer]) => answer.usage?.cachedTokens ?? 0)),
      throughMs: Figures.spread(through),
      directMs: Figures.spread(direct),
      addedMs: { ...Figures.spread(added), p25: Figures.quantile(added, 0.25), p75: Figures.quantile(added, 0.75) }
    },
    reach: [Report.atMost("time to first token added, ms p50", Figures.median(added), 3)]
  }
}

const measureStreams = async (probe: Probe, given: Options, tell: Tell): Promise<Part> => {
  const rows: Array<{ readonly streams: number; readonly pairs: ReadonlyArray<Figures.Pair> }> = []
  for (const streams of [1, 4, streamsMax]) {
    tell(`${streams} streams at once`)
    const prompts = Array.from({ length: given["stream-pairs"] }, () =>
      Array.from({ length: streams }, () => probe.prompt())
    )
    const measured = await pairs(
      given["stream-pairs"],
      (index) => probe.throughAll(prompts[index] ?? [], given.tokens / 2),
      (index) => probe.directAll(prompts[index] ?? [], given.tokens / 2)
    )
    rows.push({ streams, pairs: measured.map(([through, direct]) => ({ through, direct })) })
  }
  const one = Figures.median(rows[0]?.pairs.map(({ direct }) => direct) ?? [])
  return {
    figures: Object.fromEntries(
      rows.map(({ pairs, streams }) => {
        const direct = Figures.spread(pairs.map((pair) => pair.direct))
        return [
          `of${streams}`,
          {
            throughTokensPerSecond: Figures.spread(pairs.map(({ through }) => through)),
            directTokensPerSecond: direct,
            ratios: pairs.map(({ direct, through }) => through / direct),
            directGainOverOneStream: direct.median / one
          }
        ]
      })
    ),
    reach: rows
      .filter(({ streams }) => streams > 1)
      .map(({ pairs, streams }) =>
        Report.atLeast(`aggregate of ${streams} streams ÷ the batch loop driven directly`, Figures.ratio(pairs), 0.97)
      )
  }
}

/** A chat goes on: its first turn need not be computed again. Cold is a chat as long that nobody has seen. */
const measureTurns = async (probe: Probe, given: Options, tell: Tell): Promise<Part> => {
  tell("second turn of a chat")
  const measured: Array<{ warm: ChatStream.ChatAnswer; cold: ChatStream.ChatAnswer; firstTokens: number }> = []
  for (let turn = 0; turn < given.turns; turn++) {
    const [begun, other] = [probe.longPrompt(), probe.longPrompt()]
    const first = await probe.through(begun, 8)
    const goOn = (prompt: string) =>
      [
        { role: "user", content: prompt },
        { role: "assistant", content: ChatStream.textOf(first) },
        { role: "user", content: "Go on." }
      ] as const
    const warm = await probe.chat(goOn(begun), 4)
    const cold = await probe.chat(goOn(other), 4)
    measured.push({ warm, cold, firstTokens: first.usage?.promptTokens ?? Number.NaN })
  }
  const shares = measured.map(({ firstTokens, warm }) => (warm.usage?.cachedTokens ?? 0) / firstTokens)
  return {
    figures: {
      promptTokens: measured.map(({ warm }) => warm.usage?.promptTokens),
      cachedTokens: measured.map(({ warm }) => warm.usage?.cachedTokens),
      cachedTokensCold: measured.map(({ cold }) => cold.usage?.cachedTokens),
      warmMs: Figures.spread(measured.map(({ warm }) => ChatStream.firstTextMs(warm))),
      coldMs: Figures.spread(measured.map(({ cold }) => ChatStream.firstTextMs(cold)))
    },
    reach: [Report.atLeast("second turn: cached tokens ÷ prompt tokens of the first", Figures.median(shares), 0.95)]
  }
}
