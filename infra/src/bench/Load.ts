/**
 * `load`: many streams at once, more requests than there is room for, and a long time of both. Peers serve the bundled
 * tiny model; a generator in a process of its own sends prompts that no two requests share and looks whose words come
 * back. The overload's goodput is compared with the best of the same run.
 */
import { join } from "node:path"
import type * as Benchmark from "./Benchmark.ts"
import type { LoadQuestion, LoadReply } from "./load/Generator.ts"
import * as MemoryTrend from "./load/MemoryTrend.ts"
import * as Mesh from "./Mesh.ts"
import * as ProcessFigures from "./ProcessFigures.ts"
import * as Programs from "./Programs.ts"
import * as Report from "./Report.ts"

/** The most a peer takes. */
const slotsOfPeer = 64
/** Streams that saturate two processors without queueing: what goes through then is the capacity. */
const saturatingStreams = 32
/** How much an overload is, as a multiple of the best goodput seen before it. */
const overloadFactor = 3
/** An overload of less shows nothing: the best goodput was found in it, and not before. */
const overloadFactorMin = 2.5
/** Part of the capacity that the soak runs at: busy, and nothing piles up. */
const soakPart = 0.6
const memoryEverySeconds = 5
/** Growth that counts as none: over a soak of ten minutes it is less than the noise of a garbage collector. */
const flatMebibytesPerHour = 64
/** Longest wait for the peers to be idle when all is over. */
const idleMsMax = 10_000

const options = {
  streams: { byDefault: 200, about: "streams at once" },
  seconds: { byDefault: 60, about: "seconds of them" },
  "overload-seconds": { byDefault: 20, about: "seconds of each rate around the overload; 0: none" },
  soak: { byDefault: 0, about: "seconds of the soak; the goal's own are 600" },
  peers: { byDefault: 4, about: "peers, each with 64 slots" },
  tokens: { byDefault: 48, about: "tokens of an answer" },
  cancelled: { byDefault: 0.05, about: "part of the answers that their client leaves" },
  seed: { byDefault: 1, about: "seed of prompts and arrivals" }
} as const satisfies Record<string, Benchmark.Option>

type Options = Readonly<Record<keyof typeof options, number>>
type Part = Pick<Report.Report, "figures" | "reach">

/** Measures the mesh under load. */
export const load: Benchmark.Benchmark<keyof typeof options> = {
  name: "load",
  about: "many streams, overload and soak: lost and crossed answers, latencies, goodput, memory",
  options,
  minutesMax: (given) => 10 + (given.seconds + 4 * given["overload-seconds"] + given.soak) / 60,
  run: async (given, tell) => {
    const entry = await Mesh.startEntry()
    const peers: Array<Mesh.Peer> = []
    for (let peer = 0; peer < given.peers; peer++) {
      peers.push(await Mesh.startPeer({ url: entry.url, model: Mesh.tinyModel, slots: slotsOfPeer }))
    }
    const generator = Programs.startAsked<LoadQuestion, LoadReply>(join(import.meta.dir, "load/Generator.ts"))
    let phases = 0
    const send: Send = (load, seconds) =>
      generator.ask({
        url: entry.url,
        model: Mesh.tinyModelName,
        endToken: Mesh.tinyEndToken,
        load,
        seconds,
        tokens: given.tokens,
        cancelled: given.cancelled,
        seed: given.seed * 1000 + phases++
      })

    tell(`${given.streams} streams`)
    const held = await send({ streams: given.streams }, given.seconds)
    const overload = await measureOverload(send, held, given, tell)
    const soak = await measureSoak(send, overload.capacity, given, entry, peers, tell)
    const left = await occupied(peers)
    return {
      figures: {
        slotsOfPeer,
        held,
        ...overload.figures,
        ...soak.figures
      },
      reach: [
        Report.atMost(`${given.streams} streams: lost`, held.lost, 0),
        Report.atMost(`${given.streams} streams: refused`, held.refused, 0),
        Report.atMost(`${given.streams} streams: crossed`, held.crossed, 0),
        ...overload.reach,
        ...soak.reach,
        Report.atMost("answers that the peers still hold at the end", left, 0)
      ]
    }
  }
}

// internal

type Send = (load: LoadQuestion["load"], seconds: number) => Promise<LoadReply>
type Tell = (line: string) => void

/** Whole answers per second that go through. */
interface Capacity {
  readonly capacity: number
}

/** Requests that came whether others were answered or not, and what became of them. */
interface Offered {
  readonly perSecond: number
  readonly reply: LoadReply
}

const none: Part = { figures: {}, reach: [] }

const measureOverload = async (send: Send, held: LoadReply, given: Options, tell: Tell): Promise<Part & Capacity> => {
  const seconds = given["overload-seconds"]
  if (seconds === 0) return { ...none, capacity: held.goodput }
  tell(`${saturatingStreams} streams`)
  const saturated = await send({ streams: saturatingStreams }, seconds)
  tell(`${saturated.goodput.toFixed(1)} requests a second`)
  const even = await send({ perSecond: saturated.goodput }, seconds)
  const known = Math.max(held.goodput, saturated.goodput, even.goodput)
  const offer = async (goodput: number): Promise<Offered> => {
    const perSecond = overloadFactor * goodput
    tell(`${perSecond.toFixed(1)} requests a second`)
    return { perSecond, reply: await send({ perSecond }, seconds) }
  }
  const first = await offer(known)
  // More may go through beside more that waits: then that is the rate to be three times over.
  const offered = first.reply.goodput > known ? await offer(first.reply.goodput) : first
  const over = offered.reply
  const peak = Math.max(known, first.reply.goodput, over.goodput)
  return {
    capacity: saturated.goodput,
    figures: { saturated, even, over, offeredPerSecond: offered.perSecond, peakGoodput: peak },
    reach: [
      Report.atLeast("overload: requests offered ÷ peak goodput", offered.perSecond / peak, overloadFactorMin),
      Report.atMost("overload × 3: neither answered nor refused with retry-after", over.lost, 0),
      Report.atMost("overload × 3: crossed", over.crossed, 0),
      Report.atLeast("overload × 3: goodput ÷ its peak", over.goodput / peak, 0.9)
    ]
  }
}

const measureSoak = async (
  send: Send,
  capacity: number,
  given: Options,
  entry: Mesh.Entry,
  peers: ReadonlyArray<Mesh.Peer>,
  tell: Tell
): Promise<Part> => {
  if (given.soak === 0) return none
  tell(`soak of ${given.soak} s`)
  const watched: Array<readonly [name: string, pid: number, samples: Array<readonly [number, number]>]> = [
    ["entry", entry.program.pid, []]
  ]
  for (const [index, peer] of peers.entries()) {
    const [model] = (await Mesh.statusOf(peer)).models
    watched.push([`peer${index}`, peer.program.pid, []], [`engineHost${index}`, model?.processId ?? Number.NaN, []])
  }
  const startedMs = performance.now()
  const timer = setInterval(() => {
    const seconds = (performance.now() - startedMs) / 1000
    for (const [, pid, samples] of watched) samples.push([seconds, ProcessFigures.residentBytes(pid)])
  }, memoryEverySeconds * 1000)
  const reply = await send({ perSecond: capacity * soakPart }, given.soak)
  clearInterval(timer)
  const trends = watched.map(([name, , samples]) => [name, MemoryTrend.trendOf(samples)] as const)
  return {
    figures: { soakSeconds: given.soak, soak: reply, memory: Object.fromEntries(trends) },
    reach: [
      Report.atMost("soak: lost", reply.lost, 0),
      Report.atMost("soak: crossed", reply.crossed, 0),
      ...trends.map(([name, { bytesPerHour }]) =>
        Report.atMost(`soak: growth of ${name}, MiB/h`, bytesPerHour / 2 ** 20, flatMebibytesPerHour)
      )
    ]
  }
}

/** Returns how many answers the peers still hold, once they are none or no longer get fewer in time. */
const occupied = async (peers: ReadonlyArray<Mesh.Peer>): Promise<number> => {
  const endMs = performance.now() + idleMsMax
  while (true) {
    const states = await Promise.all(peers.map(Mesh.statusOf))
    const held = states.flatMap(({ models }) => models).reduce((sum, { active, queued }) => sum + active + queued, 0)
    if (held === 0 || performance.now() > endMs) return held
    await Bun.sleep(100)
  }
}
