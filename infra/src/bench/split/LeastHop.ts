/**
 * The least a hop between two stages can cost here: the same processes in the same places, stage → relay → datagrams →
 * relay → stage, over raw sockets and without any code of the mesh. Between two hops each stage reads as much memory as
 * its layers are, which drives all else out of the processor's caches. What a hop of a split costs beyond this is ours.
 */
import { join } from "node:path"
import * as Figures from "../Figures.ts"
import * as Programs from "../Programs.ts"
import type { RelayQuestion } from "./LeastRelay.ts"
import type { StageQuestion } from "./LeastStage.ts"

/** Represents what goes round. */
export interface LeastHopOptions {
  /** Of a token's hidden state. */
  readonly frameBytes: number
  /** Of the layers of one of two stages. */
  readonly memoryBytes: number
}

/** Loops of which the figure is the median. */
const loops = 200
/** Longest wait for all of them: a datagram that is lost is not sent again. */
const waitMsMax = 60_000

/** Returns the milliseconds of one hop, median, without what the stages did; NaN where a datagram was lost. */
export const measure = async ({ frameBytes, memoryBytes }: LeastHopOptions): Promise<number> => {
  const directory = Programs.directory()
  const start = async (isFirst: boolean) => {
    const socketPath = join(directory, isFirst ? "first" : "last")
    const relay = Programs.startAsked<RelayQuestion, number>(join(import.meta.dir, "LeastRelay.ts"))
    const port = await relay.ask({ kind: "listen", socketPath, frameBytes })
    const stage = Programs.startAsked<StageQuestion, ReadonlyArray<number>>(join(import.meta.dir, "LeastStage.ts"))
    const ask = () => stage.ask({ isFirst, socketPath, frameBytes, memoryBytes, loops })
    return { relay, port, stage, ask }
  }
  const [first, last] = await Promise.all([start(true), start(false)])
  await first.relay.ask({ kind: "send", port: last.port })
  await last.relay.ask({ kind: "send", port: first.port })
  // The last one is connected before the first begins.
  await last.ask()
  const hopsMs = await Promise.race([first.ask(), Bun.sleep(waitMsMax)])
  await Promise.all([first, last].flatMap(({ relay, stage }) => [relay.stop(), stage.stop()]))
  return Figures.median(hopsMs ?? [])
}
