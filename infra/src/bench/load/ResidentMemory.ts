/** The memory of processes over time, and how fast it grows. */
import { existsSync, readFileSync } from "node:fs"
import * as Figures from "../Figures.ts"

/** Represents the memory of one program over a soak. */
export interface MemoryTrend {
  readonly firstBytes: number
  readonly lastBytes: number
  readonly maxBytes: number
  /** By least squares over the samples after the first third, in which caches and code still grow. */
  readonly bytesPerHour: number
  readonly standardError: number
}

/** Part of a soak that does not count for the slope. */
const settlingPart = 1 / 3

/** Returns the resident bytes of a process, NaN where it is gone. */
export const residentBytes = (pid: number): number => {
  if (existsSync("/proc/self/status")) {
    const path = `/proc/${pid}/status`
    const line = existsSync(path) ? /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(path, "utf8")) : undefined
    return Number(line?.[1] ?? Number.NaN) * 1024
  }
  const { stdout } = Bun.spawnSync(["ps", "-o", "rss=", "-p", String(pid)])
  return Number(stdout.toString().trim() || Number.NaN) * 1024
}

/** Returns the trend of samples `[seconds, bytes]`, oldest first. */
export const trendOf = (samples: ReadonlyArray<readonly [seconds: number, bytes: number]>): MemoryTrend => {
  const settled = samples.slice(Math.floor(samples.length * settlingPart))
  const { slope, slopeError } = Figures.leastSquares(settled)
  return {
    firstBytes: samples[0]?.[1] ?? Number.NaN,
    lastBytes: samples.at(-1)?.[1] ?? Number.NaN,
    maxBytes: Math.max(...samples.map(([, bytes]) => bytes)),
    bytesPerHour: slope * 3600,
    standardError: slopeError * 3600
  }
}
