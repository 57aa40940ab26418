/**
 * `split`: what it costs that a model is split among peers some way apart, over real QUIC between real processes. The
 * law is `ms per token = compute of all stages + one loop`. Beside it stand the least that a hop can cost here, answers
 * guessed ahead, answers side by side, and long prompts. Every answer is held against that of one peer with the whole
 * model; with bad lines or a busy stage nothing else is a goal.
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
import * as LeastHop from "./split/LeastHop.ts"
import * as Lines from "./split/Lines.ts"
import * as Prompts from "./split/Prompts.ts"
import * as Ring from "./split/Ring.ts"
import { Texts } from "./split/Texts.ts"
import * as Trouble from "./split/Trouble.ts"

/** Streams at once; stages have as many slots. */
const streamsMax = 4
/** Holds the longest prompt here and an answer. */
const contextTokens = 2304
/** Round trips between peers, ms: one room, a city, a country, a continent, an ocean. */
const roundTripsMs = [0, 10, 50, 100, 200]
/** Where answers side by side and prompts are measured. */
const middleRttMs = 50
/** Where guesses are worth most of what people have. */
const farRttMs = 100

const options = {
  tokens: { byDefault: 32, about: "tokens of an answer" },
  answers: { byDefault: 3, about: "answers of which each figure is the median" },
  small: { byDefault: 0, about: "1: a model of 0.06 instead of 0.29 billion parameters" },
  "stages-max": { byDefault: 4, about: "most stages" },
  "rtt-min": { byDefault: 0, about: "shortest round trip, ms" },
  "rtt-max": { byDefault: 200, about: "longest round trip, ms" },
  warm: { byDefault: 8, about: "answers on loopback before those that count" },
  seed: { byDefault: 1, about: "seed of model and prompts" },
  ...Trouble.options
} as const satisfies Record<string, Benchmark.Option>

type Options = Readonly<Record<keyof typeof options, number>>

/** Measures splits. */
export const split: Benchmark.Benchmark<keyof typeof options> = {
  name: "split",
  about: "ms per token of a model split among peers some way apart ÷ compute + one loop",
  options,
  minutesMax: (given) => (19 + (given.tokens * given.answers) / 6) * (Trouble.isNone(given) ? 1 : troubleTakes),
  run: async (given, tell) => {
    const shape = given.small === 1 ? Shape.small : Shape.medium
    const path = await RandomModel.make(join(Programs.root, ".weft/bench/models"), shape, given.seed, Mesh.tinyModel)
    const bench = new Bench(given, tell, path, shape.layers)
    const isWanted = (rttMs: number): boolean =>
      given["stages-max"] >= 3 && given["rtt-min"] <= rttMs && rttMs <= given["rtt-max"]
    const whole = await bench.whole()
    tell("the least hop")
    const leastHopMs = await LeastHop.measure({
      // A token's hidden state, in single precision.
      frameBytes: 4 * shape.embedding,
      memoryBytes: Bun.file(path).size / 2
    })
    const plain = await bench.plain()
    const far = isWanted(farRttMs) ? await bench.far() : nothing
    const middle = isWanted(middleRttMs) ? await bench.middle() : nothing
    const texts = await bench.texts()
    const times = { whole, ...plain.figures, ...far.figures, ...middle.figures }
    const isTimeGoal = Trouble.isNone(given)
    return {
      figures: { model: shape.name, leastHopMs, ...times, ...texts.figures },
      reach: [...(isTimeGoal ? [...plain.reach, ...far.reach, ...middle.reach] : []), ...texts.reach]
    }
  }
}

// internal

type Part = Pick<Report.Report, "figures" | "reach">

const nothing: Part = { figures: {}, reach: [] }

/** Times as long as without trouble: a stage that runs for a fifth of the time, while the others wait for it. */
const troubleTakes = 4

/** One cell: stages at a distance, without guesses. */
interface Cell {
  readonly stages: number
  readonly rttMs: number
  readonly msPerToken: number
  readonly computeMs: number
  readonly loopMs: number
  /** Of an answer's time per token, what is neither compute nor distance, by stages. */
  readonly hopMs: number
}

class Bench {
  readonly #model: string
  readonly #texts = new Texts()
  readonly #trouble: Trouble.Trouble
  #datagrams = Lines.noDatagrams

  constructor(
    private readonly given: Options,
    private readonly tell: (line: string) => void,
    private readonly path: string,
    private readonly layers: number
  ) {
    this.#model = basename(path, ".gguf")
    this.#trouble = Trouble.from(given)
  }

  /** One peer with all of the model, in the same profile. */
  async whole() {
    this.tell("one peer alone")
    return this.#withWhole(async (entry) => {
      const asking = this.#askingWhole(entry)
      // As a cell begins: its questions are these.
      await asking.msPerToken({ maxTokens: 8 })
      return { msPerToken: await this.#median(() => asking.msPerToken({ maxTokens: this.given.tokens })) }
    })
  }

  /** All answers so far beside those of the whole model; it is asked what it was not asked yet. */
  async texts(): Promise<Part> {
    const unanswered = this.#texts.unanswered()
    if (unanswered.length > 0) {
      this.tell(`${unanswered.length} more questions to one peer alone`)
      await this.#withWhole(async (entry) => {
        const asking = this.#askingWhole(entry)
        for (const posed of unanswered) await asking.again(posed)
      })
    }
    const texts = this.#texts.compare()
    return {
      figures: { answers: texts, datagrams: this.#datagrams },
      reach: [
        Report.atMost(`of ${texts.compared} answers, those that the whole model gives otherwise`, texts.different, 0)
      ]
    }
  }

  /** Every number of stages at every distance, one stream. */
  async plain(): Promise<Part> {
    const cells: Array<Cell> = []
    for (let stages = 2; stages <= this.given["stages-max"]; stages++) {
      for (const rttMs of roundTripsMs.filter((ms) => this.given["rtt-min"] <= ms && ms <= this.given["rtt-max"])) {
        cells.push(await this.#with({ stages, rttMs, speculates: false }, (ring) => this.#cell(ring, stages, rttMs)))
      }
    }
    const ratio = ({ computeMs, loopMs, msPerToken }: Cell): number => msPerToken / (computeMs + loopMs)
    const worst = (what: string, some: ReadonlyArray<Cell>, bound: number): ReadonlyArray<Report.Reach> =>
      some.length === 0
        ? []
        : [Report.atMost(`ms per token ÷ (compute + loop), worst ${what}`, Math.max(...some.map(ratio)), bound)]
    const hops = cells.filter(({ rttMs }) => rttMs === 0).map(({ hopMs }) => hopMs)
    return {
      figures: { cells: cells.map((cell) => ({ ...cell, loopRatio: ratio(cell) })), hopMs: hops },
      reach: [
        ...(hops.length === 0
          ? []
          : [Report.atMost("protocol cost of a hop on loopback, ms, the dearest", Math.max(...hops), 0.5)]),
        ...worst("at 50 ms and above", cells.filter(isFar), 1.1),
        ...worst("at 10 ms", cells.filter(isNear), 1.2)
      ]
    }
  }

  /** Answers guessed ahead, beside the same ones that are not. */
  async far(): Promise<Part> {
    const rows: Array<{ readonly stages: number; readonly words: string; readonly ratio: number }> = []
    for (const stages of [2, 3]) {
      const place = { stages, rttMs: farRttMs }
      await this.#with({ ...place, speculates: true }, (guessing) =>
        this.#with({ ...place, speculates: false }, async (plain) => {
          rows.push(...(await this.#gains(stages, this.#asking(guessing), this.#asking(plain))))
        })
      )
    }
    const draftable = rows.filter(({ words }) => words === "1").map(({ ratio }) => ratio)
    const all = rows.map(({ ratio }) => ratio)
    return {
      figures: {
        speculation: rows,
        speculationMean: all.reduce((sum, one) => sum + one, 0) / all.length
      },
      reach: [
        Report.atLeast(`guessed ÷ plain at ${farRttMs} ms, draftable text, the worse`, Math.min(...draftable), 2),
        Report.atLeast(`guessed ÷ plain at ${farRttMs} ms, the worst of a mixed set`, Math.min(...all), 0.98)
      ]
    }
  }

  /** Several streams, and long prompts, on three stages. */
  async middle(): Promise<Part> {
    const place = { stages: 3, rttMs: middleRttMs, speculates: false }
    return this.#with(place, (ring) =>
      this.#withWhole(async (entry, peer) => {
        const streams = await this.#streams(this.#asking(ring))
        this.tell("long prompts on 3 stages")
        const split = { asking: this.#asking(ring), peers: ring.peers() }
        const whole = { asking: this.#askingWhole(entry), peers: [peer] }
        // Each of three has a third of the layers, which is a third of the time that one peer takes for all.
        const share = Math.ceil(this.layers / 3) / this.layers
        const prompts = await Prompts.measure(whole, split, { share, loopMs: loopMsOf(3, middleRttMs) }, this.tell)
        return {
          figures: { ...streams.figures, ...prompts.figures },
          reach: [...streams.reach, ...prompts.reach]
        }
      })
    )
  }

  async #streams(asking: Asking.Asking): Promise<Part> {
    this.tell(`${streamsMax} streams on 3 stages`)
    const pairs: Array<Figures.Pair> = []
    for (let answer = 0; answer < this.given.answers; answer++) {
      const question = { maxTokens: this.given.tokens }
      const direct = await asking.perSecond(1, question)
      pairs.push({ direct, through: await asking.perSecond(streamsMax, question) })
    }
    return {
      figures: { streams: { one: pairs.map(({ direct }) => direct), four: pairs.map(({ through }) => through) } },
      reach: [Report.atLeast(`${streamsMax} streams ÷ one, 3 stages at ${middleRttMs} ms`, Figures.ratio(pairs), 2.5)]
    }
  }

  get #long(): Asking.Question {
    return { maxTokens: this.given.tokens * 2 }
  }

  /** Asks a ring; every ring the same questions in the same order. */
  #asking(ring: Ring.Ring): Asking.Asking {
    const hear = (posed: Asking.Posed, text: string): void => this.#texts.hear(posed, text)
    return Asking.make(ring, this.#model, Seeded.make(this.given.seed), hear)
  }

  /** Asks the whole model, likewise. */
  #askingWhole(entry: Mesh.Entry): Asking.Asking {
    const learn = (posed: Asking.Posed, text: string): void => this.#texts.learn(posed, text)
    return Asking.make({ entry }, this.#model, Seeded.make(this.given.seed), learn)
  }

  async #cell(ring: Ring.Ring, stages: number, rttMs: number): Promise<Cell> {
    const asking = this.#asking(ring)
    const loopMs = loopMsOf(stages, rttMs)
    // A peer that has served for half a minute takes a third less for a hop than one that has served for five seconds
    // (0.62 and 0.42 ms), as only then all of it is compiled. Far away nobody would see it.
    const warmAnswers = loopMs === 0 ? this.given.warm : 1
    for (let answer = 0; answer < warmAnswers; answer++) await asking.msPerToken({ maxTokens: warmTokens(loopMs) })
    const answers: Array<{ readonly ms: number; readonly computeMs: number }> = []
    for (let answer = 0; answer < this.given.answers; answer++) {
      const before = await Ring.computed(ring)
      const ms = await asking.msPerToken({ maxTokens: this.given.tokens })
      answers.push({ ms, computeMs: Ring.computeMs(before, await Ring.computed(ring)) })
    }
    return {
      stages,
      rttMs,
      msPerToken: Figures.median(answers.map(({ ms }) => ms)),
      computeMs: Figures.median(answers.map(({ computeMs }) => computeMs)),
      loopMs,
      hopMs: Figures.median(answers.map(({ computeMs, ms }) => (ms - computeMs - loopMs) / stages))
    }
  }

  /** Pairs of the same kind of text, guessed and plain, for text of more and more words. */
  async #gains(stages: number, guessing: Asking.Asking, plain: Asking.Asking) {
    const rows: Array<{ readonly stages: number; readonly words: string; readonly ratio: number }> = []
    for (const words of [1, 2, 4, 16, undefined]) {
      const question = { ...this.#long, ...(words === undefined ? {} : { words }) }
      const measured: Array<Figures.Pair> = []
      for (let answer = 0; answer < this.given.answers; answer++) {
        const direct = await plain.msPerToken(question)
        measured.push({ direct, through: await guessing.msPerToken(question) })
      }
      rows.push({ stages, words: String(words ?? "all"), ratio: 1 / Figures.ratio(measured) })
    }
    return rows
  }

  async #median(measure: () => Promise<number>): Promise<number> {
    const values: Array<number> = []
    for (let answer = 0; answer < this.given.answers; answer++) values.push(await measure())
    return Figures.median(values)
  }

  /** Runs `use` with a peer that has the whole model and is gone afterwards. */
  async #withWhole<A>(use: (entry: Mesh.Entry, peer: Mesh.Peer) => Promise<A>): Promise<A> {
    const entry = await Mesh.startEntry()
    const more = ["--profile", "exact"]
    const peer = await Mesh.startPeer({ url: entry.url, model: this.path, slots: 1, threads: 1, contextTokens, more })
    try {
      return await use(entry, peer)
    } finally {
      await Mesh.stop(peer)
      entry.program.signal("SIGKILL")
    }
  }

  /** Runs `use` with a ring that is gone afterwards. */
  async #with<A>(
    place: Pick<Ring.RingOptions, "rttMs" | "speculates" | "stages">,
    use: (ring: Ring.Ring) => Promise<A>
  ): Promise<A> {
    const { rttMs, speculates, stages } = place
    this.tell(`${stages} stages at ${rttMs} ms${speculates ? ", guessing" : ""}`)
    const ring = await Ring.start({
      ...place,
      model: this.path,
      layers: this.layers,
      slots: streamsMax,
      contextTokens,
      spares: 0,
      trouble: this.#trouble
    })
    try {
      return await use(ring)
    } finally {
      this.#datagrams = Lines.sum(this.#datagrams, await ring.datagrams())
      await ring.stop()
    }
  }
}

const isFar = ({ rttMs }: Cell): boolean => rttMs >= middleRttMs
const isNear = ({ rttMs }: Cell): boolean => rttMs === 10

/** Once around: half a round trip for each way between two neighbours. */
const loopMsOf = (stages: number, rttMs: number): number => (stages * rttMs) / 2

/** Tokens of an answer that does not count, some seconds: the very first hops take half a millisecond more. */
const warmTokens = (loopMs: number): number => Math.max(8, Math.round(4_000 / (15 + loopMs)))
