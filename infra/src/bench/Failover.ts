/**
 * `failover`: what a client sees when the peer that answers it dies. A greedy answer is begun, its peer is killed at a
 * seeded random time (or told to stop), and the text that comes is compared with the uninterrupted one. The peer is
 * started again before the next; three peers serve the bundled tiny model.
 */
import type * as Benchmark from "./Benchmark.ts"
import * as Figures from "./Figures.ts"
import * as Continuity from "./failover/Continuity.ts"
import * as Silence from "./failover/Silence.ts"
import * as ChatStream from "./http/ChatStream.ts"
import * as Mesh from "./Mesh.ts"
import * as Report from "./Report.ts"
import * as Seeded from "./Seeded.ts"

const peersCount = 3
/** Answers of one peer at once; one runs. */
const slots = 2
/** Part of an answer's time after which nobody is killed: later the answer could be on its way whole. */
const latestPart = 0.8
/** Draws for one kill: an answer that is over before its peer is killed shows nothing. */
const drawsMax = 5
/** Longest wait for an answer: three peers die in turn, and each is noticed after seconds. */
const answerMsMax = 30_000

const options = {
  kills: { byDefault: 50, about: "peers killed with SIGKILL" },
  leaves: { byDefault: 10, about: "peers told to stop with SIGTERM" },
  tokens: { byDefault: 400, about: "tokens of an answer" },
  seed: { byDefault: 1, about: "seed of the times" }
} as const satisfies Record<string, Benchmark.Option>

/** Measures failover. */
export const failover: Benchmark.Benchmark<keyof typeof options> = {
  name: "failover",
  about: "time to the next text, and text lost or repeated, when the answering peer dies",
  options,
  minutesMax: (given) => 3 + (given.kills + given.leaves) / 4,
  run: async (given, tell) => {
    const entry = await Mesh.startEntry()
    const peers = new Map<string, Mesh.Peer>()
    const addPeer = async (dataDirectory?: string): Promise<void> => {
      const taken = dataDirectory === undefined ? {} : { dataDirectory }
      const peer = await Mesh.startPeer({ url: entry.url, model: Mesh.tinyModel, slots, ...taken })
      peers.set(peer.id, peer)
    }
    for (let peer = 0; peer < peersCount; peer++) await addPeer()
    tell(`${peersCount} peers serve`)

    // One answer of each peer: the text is the same everywhere, and the slowest says how long one may take.
    const whole = [] as Array<ChatStream.ChatAnswer>
    for (let peer = 0; peer < peersCount; peer++) whole.push(await begin(entry, given.tokens).answer)
    const expected = ChatStream.textOf(whole[0] ?? { pieces: [] })
    const isSame = whole.every((answer) => answer.whole && ChatStream.textOf(answer) === expected)
    if (!isSame) throw new Error("uninterrupted greedy answers differ from each other, so nothing can be compared")
    const typicalMs = Figures.median(whole.map((answer) => answer.endedMs - (answer.pieces[0]?.atMs ?? 0)))

    const chance = Seeded.make(given.seed)
    const disturb = async (count: number, signal: "SIGKILL" | "SIGTERM"): Promise<ReadonlyArray<Disturbed>> => {
      const disturbed: Array<Disturbed> = []
      for (let index = 0; index < count; index++) {
        const one = await disturbOne({ entry, peers, chance, expected, typicalMs, signal, tokens: given.tokens })
        tell(`${signal} ${index + 1} of ${count}: ${one.kind}, ${one.errorCode ?? `${Math.round(one.recoveryMs)} ms`}`)
        disturbed.push(one)
        await addPeer(one.dataDirectory)
      }
      return disturbed
    }
    const kills = await disturb(given.kills, "SIGKILL")
    const leaves = await disturb(given.leaves, "SIGTERM")
    return {
      figures: {
        peers: peersCount,
        typicalAnswerMs: typicalMs,
        kills: figuresOf(kills),
        leaves: figuresOf(leaves)
      },
      reach: [
        ...reachOf("kill -9", kills, (one) => one.recoveryMs, 3000),
        ...reachOf("clean leave", leaves, (one) => one.silenceMs, 1000)
      ]
    }
  }
}

// internal

/** Represents an answer whose peer was killed or told to stop. */
interface Disturbed extends Continuity.Continuity, Silence.Silence {
  /** From the signal to the end of the stream, good or bad. */
  readonly endMs: number
  readonly errorCode: string | undefined
  readonly dataDirectory: string
}

/** An answer that does not end by itself; the profile in which it is the same on every peer and across a resumption. */
const begin = (
  { connections }: Mesh.Entry,
  maxTokens: number,
  more: Pick<ChatStream.ChatQuestion, "onHead" | "onPiece"> = {}
): ChatStream.ChatExchange => {
  const exchange = ChatStream.ask(connections, {
    model: Mesh.tinyModelName,
    messages: [{ role: "user", content: "Tell me a story about a fox." }],
    maxTokens,
    headers: { "x-weft-profile": "exact" },
    more: { logit_bias: { [Mesh.tinyEndToken]: -100 } },
    ...more
  })
  const timer = setTimeout(exchange.abort, answerMsMax)
  exchange.answer.finally(() => clearTimeout(timer))
  return exchange
}

interface Disturbance {
  readonly entry: Mesh.Entry
  readonly peers: Map<string, Mesh.Peer>
  readonly chance: Seeded.Seeded
  readonly expected: string
  readonly typicalMs: number
  readonly signal: "SIGKILL" | "SIGTERM"
  readonly tokens: number
}

/** Sends the signal to the peer of a running answer; the peer is gone, and out of `peers`, when this is done. */
const disturbOne = async (disturbance: Disturbance): Promise<Disturbed> => {
  const { chance, entry, expected, peers, signal, tokens, typicalMs } = disturbance
  for (let draw = 0; draw < drawsMax; draw++) {
    const servedBy = Promise.withResolvers<string>()
    const begun = Promise.withResolvers<void>()
    const { answer } = begin(entry, tokens, {
      onHead: ({ headers }) => servedBy.resolve(headers["x-weft-served-by"] ?? ""),
      onPiece: () => begun.resolve()
    })
    // An answer that fails at once must not be waited for.
    const over = answer.then(() => "over" as const)
    if ((await Promise.race([begun.promise, over])) === "over") {
      const { errorCode, status } = await answer
      throw new Error(`no text came: ${status} ${errorCode}`)
    }
    const peer = peers.get(await servedBy.promise)
    if (peer === undefined) throw new Error("x-weft-served-by names no peer of this benchmark")
    const isOver = await Promise.race([Bun.sleep(chance.unit() * latestPart * typicalMs), over])
    if (isOver === "over") continue
    const atMs = performance.now()
    peer.program.signal(signal)
    const measured = measure(await answer, atMs, expected)
    // One that was killed is gone already, or is about to be.
    await Mesh.stop(peer)
    peers.delete(peer.id)
    return { ...measured, dataDirectory: peer.dataDirectory }
  }
  throw new Error(`${drawsMax} answers were over before their peer could be killed; raise --tokens`)
}

const measure = (answer: ChatStream.ChatAnswer, atMs: number, expected: string): Omit<Disturbed, "dataDirectory"> => {
  return {
    ...Continuity.compare(ChatStream.textOf(answer), expected),
    ...Silence.after(answer, atMs),
    endMs: answer.endedMs - atMs,
    errorCode: answer.errorCode ?? (answer.whole ? undefined : "cut off")
  }
}

const countOf = <A>(values: ReadonlyArray<A>): Readonly<Record<string, number>> =>
  Object.fromEntries([...new Set(values)].map((value) => [String(value), values.filter((one) => one === value).length]))

const figuresOf = (disturbed: ReadonlyArray<Disturbed>) => ({
  count: disturbed.length,
  texts: countOf(disturbed.map(({ kind }) => kind)),
  errors: countOf(disturbed.flatMap(({ errorCode }) => (errorCode === undefined ? [] : [errorCode]))),
  recoveryMs: disturbed.map(({ recoveryMs }) => recoveryMs),
  silenceMs: disturbed.map(({ silenceMs }) => silenceMs),
  endMs: Figures.spread(disturbed.map(({ endMs }) => endMs))
})

const reachOf = (
  what: string,
  disturbed: ReadonlyArray<Disturbed>,
  timeOf: (one: Disturbed) => number,
  bound: number
): ReadonlyArray<Report.Reach> => {
  if (disturbed.length === 0) return []
  const sum = (of: (one: Disturbed) => number): number => disturbed.reduce((total, one) => total + of(one), 0)
  return [
    Report.atMost(`${what}: next text, ms p95`, Figures.quantile(disturbed.map(timeOf), 0.95), bound),
    Report.atMost(
      `${what}: characters lost`,
      sum((one) => one.lostCharacters),
      0
    ),
    Report.atMost(
      `${what}: characters repeated`,
      sum((one) => one.repeatedCharacters),
      0
    ),
    Report.atMost(
      `${what}: answers not equal to the uninterrupted one`,
      sum((one) => (one.kind === "same" ? 0 : 1)),
      0
    )
  ]
}
