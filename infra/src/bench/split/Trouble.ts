/**
 * What rings are put through beside distance: lines that are uneven, lossy or slow, and a stage whose processor others
 * want too. Pure: numbers of the command line come in.
 */
import type * as DutyCycle from "../../throttle/DutyCycle.ts"
import type * as Impairment from "../../wan/Impairment.ts"
import type * as Benchmark from "../Benchmark.ts"

/** The options of the command line that say so; with none of them there are only distances. */
export const options = {
  jitter: { byDefault: 0, about: "most that a line's delay differs, one way, ms" },
  loss: { byDefault: 0, about: "datagrams that a line loses, percent" },
  rate: { byDefault: 0, about: "what a peer's line carries each way, Mbit/s; 0: no limit" },
  throttle: {
    byDefault: 0,
    about: "last stage paused: 1 half of the time, 2 ever more up to 80 %, 3 20…200 ms at times"
  }
} as const satisfies Record<string, Benchmark.Option>

/** Represents what is wrong with a ring; empty where nothing is. */
export interface Trouble {
  /** Of every peer's line, both ways. */
  readonly line?: Pick<Impairment.Impairment, "jitterMs" | "lossShare" | "rateBitsPerSecond">
  /** How the process of the last stage is held up. */
  readonly manner?: DutyCycle.Manner
}

type Given = Readonly<Record<keyof typeof options, number>>

/** Tells whether the options ask for nothing. */
export const isNone = ({ jitter, loss, rate, throttle }: Given): boolean => jitter + loss + rate + throttle === 0

/** Returns what the options say; throws where one says what there is not. */
export const from = ({ jitter, loss, rate, throttle }: Given): Trouble => {
  if (loss > 100) throw new Error("--loss takes percent: 0 … 100")
  const manner = manners[throttle]
  if (throttle > 0 && manner === undefined) throw new Error("--throttle takes 0, 1, 2 or 3")
  const rateBitsPerSecond = rate === 0 ? Number.POSITIVE_INFINITY : rate * 1e6
  return {
    ...(jitter + loss + rate === 0 ? {} : { line: { jitterMs: jitter, lossShare: loss / 100, rateBitsPerSecond } }),
    ...(manner === undefined ? {} : { manner })
  }
}

// internal

/** By their number. A ramp is up within the answers of the nearest ring; no pause is near the 2 s of a stuck stage. */
const manners: Readonly<Record<number, DutyCycle.Manner>> = {
  1: { kind: "steady", pausedShare: 0.5 },
  2: { kind: "ramp", pausedShare: 0.8, overMs: 2_000 },
  3: { kind: "jitter", leastMs: 20, mostMs: 200 }
}
