/**
 * `gateway`: what the entry adds to a small request. Behind it a peer whose engine answers at once, over a real QUIC
 * link; before it a generator in a process of its own. Each request to the entry is paired, a quarter of a second to
 * three quarters away, with one to a plain HTTP server that gives the same bytes, with one to the least gateway that
 * sends them on over QUIC, and with one to the least that understands them; keys, limits and accounting are on.
 */
import { join } from "node:path"
import type { GenerateEvent } from "@weft/engine/Generation"
import type * as Benchmark from "./Benchmark.ts"
import * as Figures from "./Figures.ts"
import { answerEvents, requestBody } from "./gateway/Answer.ts"
import type { ConvertingResponse } from "./gateway/ConvertingGateway.ts"
import type { GatewayQuestion, GatewayReply } from "./gateway/Generator.ts"
import type { LeastResponse } from "./gateway/LeastGateway.ts"
import type { LeastAnswer } from "./gateway/LeastPeer.ts"
import type { PlainResponse } from "./gateway/PlainServer.ts"
import * as Latencies from "./Latencies.ts"
import * as MemoryLatency from "./MemoryLatency.ts"
import * as Mesh from "./Mesh.ts"
import * as ProcessFigures from "./ProcessFigures.ts"
import * as Programs from "./Programs.ts"
import * as Report from "./Report.ts"

/** Requests per second at which the added time is measured. */
const openPerSecond = 100
/** Connections that keep the entry busy: enough that it never waits, few enough to queue for milliseconds alone. */
const closedConnections = 16
const key = "weft-benchmark-of-the-gateway"
/** A key with limits that no run reaches, so that they are checked and never hold. */
const apiKeys = `bench:${key}:1000000000:1000000000`

const options = {
  seconds: { byDefault: 20, about: "seconds of requests at 100 a second" },
  "closed-seconds": { byDefault: 5, about: "seconds of as many requests as go through" },
  rounds: { byDefault: 3, about: "times that the highest rate is measured" }
} as const satisfies Record<string, Benchmark.Option>

/** Measures the entry. */
export const gateway: Benchmark.Benchmark<keyof typeof options> = {
  name: "gateway",
  about: "time the entry adds to a small request, and requests per second",
  options,
  minutesMax: (given) => 2 + (given.seconds + given["closed-seconds"] * (given.rounds + 3)) / 30,
  run: async (given, tell) => {
    const { program: entry, url } = await Mesh.startEntry({ WEFT_API_KEYS: apiKeys })
    const peer = Programs.start(["run", join(import.meta.dir, "gateway/MockPeer.ts"), url])
    await peer.event("registered")
    const generator = Programs.startAsked<GatewayQuestion, GatewayReply>(join(import.meta.dir, "gateway/Generator.ts"))
    const plain = Programs.startAsked<PlainResponse, string>(join(import.meta.dir, "gateway/PlainServer.ts"))
    const { body, headers, statuses } = await generator.ask({ kind: "once", url, key })
    if (statuses[200] !== 1) throw new Error(`the entry answers with ${JSON.stringify(statuses)}: ${body}`)
    const response = { body, headers: repeated(headers) }
    const plainUrl = await plain.ask(response)
    const [leastUrl, convertingUrl] = [await startLeast(response), await startConverting(response)]
    const closed = { kind: "closed", key, connections: closedConnections } as const

    // Code is compiled while it runs, so the first requests are not counted.
    tell("warming up")
    await generator.ask({ ...closed, url, seconds: given["closed-seconds"] })
    for (const url of [convertingUrl, leastUrl, plainUrl]) {
      await generator.ask({ ...closed, url, seconds: given["closed-seconds"] / 2 })
    }
    tell(`${openPerSecond} requests a second`)
    const count = given.seconds * openPerSecond
    const urls = [url, convertingUrl, leastUrl, plainUrl]
    const open = await generator.ask({ kind: "open", urls, key, perSecond: openPerSecond, count })
    const cacheLineNs = await MemoryLatency.measure(1000 / openPerSecond)
    const processes = { entry: entry.pid, peer: peer.pid, generator: generator.pid }
    const before = processorMsOf(processes)
    const rounds: Array<GatewayReply> = []
    for (let round = 0; round < given.rounds; round++) {
      tell("as many requests as go through")
      rounds.push(await generator.ask({ ...closed, url, seconds: given["closed-seconds"] }))
    }
    const requests = rounds.reduce((sum, { timesMs }) => sum + timesMs.flat().length, 0)
    const processorMsPerRequest = Object.fromEntries(
      Object.entries(processorMsOf(processes)).map(([name, ms]) => [name, (ms - (before[name] ?? 0)) / requests])
    )
    const plainRound = await generator.ask({ ...closed, url: plainUrl, seconds: given["closed-seconds"] })
    const { figures, reach } = report(open, rounds, plainRound)
    return { figures: { ...figures, processorMsPerRequest, cacheLineNs }, reach }
  }
}

// internal

/** The headers that make a response as long as the entry's; those that the server writes itself are left out. */
const repeated = (headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> =>
  Object.fromEntries(
    Object.entries(headers).filter(([name]) => !["content-length", "date", "connection"].includes(name))
  )

const startLeast = async (response: PlainResponse): Promise<string> => {
  const peer = Programs.startAsked<LeastAnswer, string>(join(import.meta.dir, "gateway/LeastPeer.ts"))
  const gateway = Programs.startAsked<LeastResponse, string>(join(import.meta.dir, "gateway/LeastGateway.ts"))
  const address = await peer.ask({ requestBytes: Buffer.byteLength(requestBody), body: response.body })
  return gateway.ask({ ...response, address })
}

const startConverting = async ({ headers }: PlainResponse): Promise<string> => {
  const path = (name: string) => join(import.meta.dir, "gateway", name)
  const peer = Programs.startAsked<ReadonlyArray<GenerateEvent>, string>(path("ConvertingPeer.ts"))
  const gateway = Programs.startAsked<ConvertingResponse, string>(path("ConvertingGateway.ts"))
  return gateway.ask({ address: await peer.ask(answerEvents), key, headers })
}

const report = (
  open: GatewayReply,
  rounds: ReadonlyArray<GatewayReply>,
  plainRound: GatewayReply
): Pick<Report.Report, "figures" | "reach"> => {
  const [through = [], converting = [], least = [], plain = []] = open.timesMs
  const beyondPlain = (times: ReadonlyArray<number>) => times.map((ms, index) => ms - (plain[index] ?? Number.NaN))
  const refused = [open, ...rounds].reduce(
    (sum, { statuses }) =>
      sum + Object.entries(statuses).reduce((sum, [status, count]) => sum + (status === "200" ? 0 : count), 0),
    0
  )
  const perSecond = Figures.median(rounds.map((round) => round.perSecond))
  const added = threeOf(beyondPlain(through))
  return {
    figures: {
      atRequestsPerSecond: openPerSecond,
      statuses: open.statuses,
      throughMs: quantilesOf(through),
      plainMs: quantilesOf(plain),
      addedMs: added,
      convertingAddedMs: threeOf(beyondPlain(converting)),
      leastAddedMs: threeOf(beyondPlain(least)),
      differenceOfP99sMs: quantile99(through) - quantile99(plain),
      connections: closedConnections,
      perSecond: rounds.map((round) => round.perSecond),
      closedMs: rounds.map((round) => quantilesOf(round.timesMs.flat())),
      plainPerSecond: plainRound.perSecond
    },
    reach: [
      Report.atMost("time added at 100 requests/s, ms p50", added.p50, 0.5),
      Report.atMost("time added at 100 requests/s, ms p99", added.p99, 2),
      Report.atLeast("requests per second", perSecond, 1000),
      Report.atMost("requests that were not answered with 200", refused, 0)
    ]
  }
}

const processorMsOf = (processes: Readonly<Record<string, number>>): Readonly<Record<string, number>> =>
  Object.fromEntries(Object.entries(processes).map(([name, pid]) => [name, ProcessFigures.processorMs(pid)]))

const quantile99 = (values: ReadonlyArray<number>): number => Figures.quantile(values, 0.99)

const threeOf = (values: ReadonlyArray<number>) => ({
  p50: Figures.quantile(values, 0.5),
  p90: Figures.quantile(values, 0.9),
  p99: quantile99(values)
})

const quantilesOf = (values: ReadonlyArray<number>): Latencies.Quantiles => {
  const latencies = Latencies.make()
  for (const ms of values) latencies.add(ms)
  return latencies.quantiles()
}
