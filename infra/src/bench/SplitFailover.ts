/**
 * `split-failover`: what a client sees when a peer with a stage dies. A greedy answer is begun, the peer of the last
 * stage is killed at a seeded random time, and the text that comes is compared with the uninterrupted one. Hot: a spare
 * has the layers loaded. Cold: the hot spare is killed along, so that another must load them first.
 */
import { basename, join } from "node:path"
import type * as Benchmark from "./Benchmark.ts"
import * as Figures from "./Figures.ts"
import * as Continuity from "./failover/Continuity.ts"
import * as Silence from "./failover/Silence.ts"
import * as ChatStream from "./http/ChatStream.ts"
import type * as Mesh from "./Mesh.ts"
import * as MeshOf from "./Mesh.ts"
import * as RandomModel from "./model/RandomModel.ts"
import * as Shape from "./model/Shape.ts"
import * as Programs from "./Programs.ts"
import * as Report from "./Report.ts"
import * as Seeded from "./Seeded.ts"
import * as Ring from "./split/Ring.ts"

const stages = 2
/** One is hot, the other can become it. */
const spares = 2
const contextTokens = 1024
/** Part of an answer's time after which nobody is killed: later the answer could be on its way whole. */
const latestPart = 0.6
/** Longest wait for a spare to be there again: a peer starts, and loads its layers. */
const hotMsMax = 120_000
const lookMs = 100

const options = {
  hot: { byDefault: 20, about: "peers of a stage killed while a spare is loaded" },
  cold: { byDefault: 10, about: "peers of a stage killed together with the loaded spare" },
  tokens: { byDefault: 150, about: "tokens of an answer" },
  small: { byDefault: 0, about: "1: a model of 0.06 instead of 0.29 billion parameters" },
  seed: { byDefault: 1, about: "seed of the model and the times" }
} as const satisfies Record<string, Benchmark.Option>

/** Measures the failover of stages. */
export const splitFailover: Benchmark.Benchmark<keyof typeof options> = {
  name: "split-failover",
  about: "time to the next text, and text lost or repeated, when a peer with a stage dies",
  options,
  minutesMax: (given) => 5 + (given.hot + given.cold) / 2,
  run: async (given, tell) => {
    const shape = given.small === 1 ? Shape.small : Shape.medium
    const directory = join(Programs.root, ".weft/bench/models")
    const model = await RandomModel.make(directory, shape, given.seed, MeshOf.tinyModel)
    const place = { model, layers: shape.layers, stages, spares, rttMs: 0, slots: 1, contextTokens, speculates: false }
    const ring = await Ring.start(place)
    tell("the ring serves")
    const bench = new Bench(ring, basename(model, ".gguf"), given.tokens, Seeded.make(given.seed))
    await bench.learn()
    const disturb = async (count: number, isCold: boolean): Promise<ReadonlyArray<Disturbed>> => {
      const disturbed: Array<Disturbed> = []
      for (let index = 0; index < count; index++) {
        const one = await bench.kill(isCold)
        tell(`${isCold ? "cold" : "hot"} ${index + 1} of ${count}: ${one.kind}, ${Math.round(one.recoveryMs)} ms`)
        disturbed.push(one)
      }
      return disturbed
    }
    const hot = await disturb(given.hot, false)
    const cold = await disturb(given.cold, true)
    await ring.stop()
    const all = [...hot, ...cold]
    const sum = (of: (one: Disturbed) => number): number => all.reduce((total, one) => total + of(one), 0)
    const worst = (some: ReadonlyArray<Disturbed>): number => Math.max(...some.map(({ recoveryMs }) => recoveryMs))
    return {
      figures: { model: shape.name, hot: figuresOf(hot), cold: figuresOf(cold) },
      reach: [
        ...(hot.length === 0 ? [] : [Report.atMost("hot spare: next text, ms, the worst", worst(hot), 10_000)]),
        ...(cold.length === 0 ? [] : [Report.atMost("cold spare: next text, ms, the worst", worst(cold), 30_000)]),
        Report.atMost(
          "characters lost",
          sum(({ lostCharacters }) => lostCharacters),
          0
        ),
        Report.atMost(
          "characters repeated",
          sum(({ repeatedCharacters }) => repeatedCharacters),
          0
        ),
        Report.atMost(
          "answers not equal to the uninterrupted one",
          sum(({ kind }) => (kind === "same" ? 0 : 1)),
          0
        )
      ]
    }
  }
}

// internal

interface Disturbed extends Continuity.Continuity, Silence.Silence {
  readonly errorCode: string | undefined
}

class Bench {
  #expected = ""
  #typicalMs = 0

  constructor(
    private readonly ring: Ring.Ring,
    private readonly model: string,
    private readonly tokens: number,
    private readonly chance: Seeded.Seeded
  ) {}

  /** The text of an answer that nothing happens to, and how long it takes. */
  async learn(): Promise<void> {
    const answers = [await this.#begin().answer, await this.#begin().answer]
    const [first] = answers
    if (first === undefined || !answers.every(({ whole }) => whole)) throw new Error("an answer did not come whole")
    this.#expected = ChatStream.textOf(first)
    if (!answers.every((answer) => ChatStream.textOf(answer) === this.#expected))
      throw new Error("uninterrupted greedy answers differ from each other, so nothing can be compared")
    this.#typicalMs = Figures.median(answers.map((answer) => answer.endedMs - (answer.pieces[0]?.atMs ?? 0)))
  }

  /** Kills the peer of the last stage within an answer; when this is done, another peer is there instead. */
  async kill(isCold: boolean): Promise<Disturbed> {
    const hot = await this.#hotSpare()
    const [, tail = ""] = await this.ring.stages()
    const begun = Promise.withResolvers<void>()
    const { answer } = this.#begin(() => begun.resolve())
    await Promise.race([begun.promise, answer])
    await Bun.sleep(this.chance.unit() * latestPart * this.#typicalMs)
    const atMs = performance.now()
    const killed = isCold ? [tail, hot] : [tail]
    for (const id of killed) this.#peer(id).program.signal("SIGKILL")
    const disturbed = measure(await answer, atMs, this.#expected)
    for (const id of killed) await this.ring.replace(this.#peer(id))
    return disturbed
  }

  #peer(id: string): Mesh.Peer {
    const peer = this.ring.peers().find((one) => one.id === id)
    if (peer === undefined) throw new Error(`no peer of this benchmark is ${id}`)
    return peer
  }

  /** Waits until a spare has the layers loaded; returns its id. */
  async #hotSpare(): Promise<string> {
    const deadlineMs = performance.now() + hotMsMax
    while (performance.now() < deadlineMs) {
      const split = await Ring.splitOf(this.ring)
      const hot = split?.spares.find(({ state }) => state === "ready")
      if (split?.state === "serving" && split.spares.length === spares && hot !== undefined) return hot.peer
      await Bun.sleep(lookMs)
    }
    throw new Error(`no spare is loaded: ${JSON.stringify(await Ring.splitOf(this.ring))}`)
  }

  #begin(onPiece: () => void = () => {}): ChatStream.ChatExchange {
    return ChatStream.ask(this.ring.entry.connections, {
      model: this.model,
      messages: [{ role: "user", content: "a fox" }],
      maxTokens: this.tokens,
      onPiece
    })
  }
}

const measure = (answer: ChatStream.ChatAnswer, atMs: number, expected: string): Disturbed => ({
  ...Continuity.compare(ChatStream.textOf(answer), expected),
  ...Silence.after(answer, atMs),
  errorCode: answer.errorCode ?? (answer.whole ? undefined : "cut off")
})

const figuresOf = (disturbed: ReadonlyArray<Disturbed>) => ({
  count: disturbed.length,
  recoveryMs: disturbed.map(({ recoveryMs }) => recoveryMs),
  median: Figures.median(disturbed.map(({ recoveryMs }) => recoveryMs)),
  errors: disturbed.flatMap(({ errorCode }) => (errorCode === undefined ? [] : [errorCode]))
})
