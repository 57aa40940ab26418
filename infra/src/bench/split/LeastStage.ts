/**
 * A stage that computes nothing, in a process of its own as an engine host is: it reads as much memory as its layers
 * would be, and answers the frame that came with one of its own, which says how long the reading took. The first one
 * begins, and measures.
 */
import { serve } from "../Programs.ts"
import { whole } from "./LeastRelay.ts"

/** Represents what it is told. */
export interface StageQuestion {
  readonly isFirst: boolean
  /** Of its relay. */
  readonly socketPath: string
  readonly frameBytes: number
  /** Read between two frames. */
  readonly memoryBytes: number
  /** Loops measured, behind those that are not. */
  readonly loops: number
}

/** Loops before the first that is measured: code is compiled while it runs. */
const warmLoops = 50

if (import.meta.main) {
  serve(async (question: StageQuestion): Promise<ReadonlyArray<number>> => {
    const { frameBytes, isFirst, loops, memoryBytes, socketPath } = question
    const memory = new Float64Array(Math.ceil(memoryBytes / Float64Array.BYTES_PER_ELEMENT)).fill(1)
    const done = Promise.withResolvers<ReadonlyArray<number>>()
    const hopsMs: Array<number> = []
    let sentMs = Number.NaN
    const socket = await Bun.connect({
      unix: socketPath,
      socket: {
        data: whole(frameBytes, (frame) => {
          // Two hops and the other's reading lie between.
          if (isFirst) hopsMs.push((performance.now() - sentMs - frame.readDoubleLE(0)) / 2)
          if (isFirst && hopsMs.length === warmLoops + loops) done.resolve(hopsMs.slice(warmLoops))
          else send()
        })
      }
    })
    const send = (): void => {
      const frame = Buffer.alloc(frameBytes)
      frame.writeDoubleLE(readMs(memory))
      sentMs = performance.now()
      socket.write(frame)
    }
    if (!isFirst) return []
    send()
    return done.promise
  })
}

// internal

/** Reads all of it, and returns how long that took. */
function readMs(memory: Float64Array): number {
  const startedMs = performance.now()
  let sum = 0
  for (let index = 0; index < memory.length; index++) sum += memory[index] ?? 0
  // The sum is looked at, so that the reading is not left out as useless.
  if (sum !== memory.length) throw new Error("the memory is not what was written")
  return performance.now() - startedMs
}
