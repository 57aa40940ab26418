/**
 * How long this computer takes to reach a line of memory, at once and after a rest. What a program reads again after a
 * few milliseconds is in no cache any more where the computer's others use them all, and then each line costs what
 * memory costs: a small request after a rest is mostly such reads.
 */
import * as Figures from "./Figures.ts"

/** Represents nanoseconds a line of 64 bytes, each read telling where the next one is; medians. */
export interface CacheLineNs {
  readonly atOnce: number
  readonly rested: number
}

/** A quarter of a MiB: about what an entry reads for one request. */
const lines = 4096
/** Numbers of 4 bytes in a line. */
const perLine = 16
const rounds = 101

/** Measures with a rest of `restMs` before each of the rested rounds; takes some hundred of them. */
export const measure = async (restMs: number): Promise<CacheLineNs> => {
  const next = circle()
  const atOnce: Array<number> = []
  const rested: Array<number> = []
  // Compiled first.
  for (let round = 0; round < rounds; round++) walk(next)
  for (let round = 0; round < rounds; round++) {
    await Bun.sleep(restMs)
    rested.push(walk(next))
    atOnce.push(walk(next))
  }
  return { atOnce: Figures.median(atOnce), rested: Figures.median(rested) }
}

// internal

/** Makes one circle through all lines in an order that no prefetcher foresees: a full period of Hull and Dobell's. */
const circle = (): Int32Array => {
  const next = new Int32Array(lines * perLine)
  for (let line = 0; line < lines; line++) next[line * perLine] = ((line * 1229 + 1237) % lines) * perLine
  return next
}

/** Goes round once; returns the nanoseconds a line took. */
const walk = (next: Int32Array): number => {
  const startedNs = Bun.nanoseconds()
  let at = 0
  for (let line = 0; line < lines; line++) at = next[at] ?? 0
  const tookNs = Bun.nanoseconds() - startedNs
  if (at !== 0) throw new Error("the circle is none")
  return tookNs / lines
}
