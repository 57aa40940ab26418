/**
 * Beside a busy neighbour: a program that never waits is pinned on one of the processors, and a peer that chose its own
 * number of threads answers. Compared with one thread of the library while nobody else runs.
 */
import { availableParallelism } from "node:os"
import { join } from "node:path"
import * as Figures from "../Figures.ts"
import * as ChatStream from "../http/ChatStream.ts"
import * as Mesh from "../Mesh.ts"
import * as Programs from "../Programs.ts"
import * as Report from "../Report.ts"
import * as Seeded from "../Seeded.ts"
import type { DirectQuestion, DirectReply } from "./Direct.ts"
import { makeProbe } from "./Probe.ts"

/** Represents where and how often to measure. */
export interface Busy {
  readonly entry: Mesh.Entry
  readonly path: string
  readonly contextTokens: number
  readonly direct: Programs.Asked<DirectQuestion, DirectReply>
  readonly given: Readonly<Record<"busy-pairs" | "seed" | "threads" | "tokens", number>>
  readonly tell: (line: string) => void
}

/** One slot is enough: what is measured is one stream. */
const slots = 1

/** Measures one stream beside a busy neighbour; starts and ends the peer and the neighbour. */
export const measureCompetitor = async (busy: Busy): Promise<Pick<Report.Report, "figures" | "reach">> => {
  const { contextTokens, direct, entry, given, path, tell } = busy
  tell("beside a busy neighbour")
  const peer = await Mesh.startPeer({ url: entry.url, model: path, slots, contextTokens })
  const probe = makeProbe(entry, path, direct, Seeded.make(given.seed + 1))
  await probe.through(probe.prompt(), 16)
  const pin = Bun.which("taskset") === null ? [] : ["taskset", "-c", "0"]
  const neighbour = Programs.startAsked<never, never>(join(import.meta.dir, "Competitor.ts"), { prefix: pin })
  const pairs: Array<Figures.Pair> = []
  const gapsMs: Array<number> = []
  for (let index = 0; index < given["busy-pairs"]; index++) {
    process.kill(neighbour.pid, "SIGSTOP")
    const quiet = await probe.direct(probe.prompt(), given.tokens)
    process.kill(neighbour.pid, "SIGCONT")
    const answer = await probe.through(probe.prompt(), given.tokens)
    gapsMs.push(ChatStream.longestGapMs(answer))
    pairs.push({
      through: ChatStream.decodeRate(answer),
      direct: (quiet.tokens - 1) / ((quiet.lastMs - quiet.firstMs) / 1000)
    })
  }
  await neighbour.stop()
  await Mesh.stop(peer)
  return {
    figures: {
      neighbour:
        pin.length === 0 ? "not pinned, as taskset is missing" : `pinned, ${availableParallelism()} processors`,
      threadsOfQuiet: given.threads,
      throughTokensPerSecond: Figures.spread(pairs.map(({ through }) => through)),
      quietTokensPerSecond: Figures.spread(pairs.map(({ direct }) => direct)),
      ratios: pairs.map(({ direct, through }) => through / direct),
      longestGapsMs: gapsMs
    },
    reach: [
      Report.atLeast("decode beside a busy neighbour ÷ quiet one-thread rate", Figures.ratio(pairs), 0.8),
      Report.atMost("longest time between tokens beside a busy neighbour, ms", Math.max(...gapsMs), 100)
    ]
  }
}
