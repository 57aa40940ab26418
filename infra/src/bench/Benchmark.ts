/** What a benchmark is: a name, options to shorten it, and a run that ends in figures and goals. */
import { cpus, loadavg } from "node:os"
import type { Report } from "./Report.ts"

/** Represents one option, always a number. */
export interface Option {
  readonly byDefault: number
  readonly about: string
}

/** Represents a benchmark. */
export interface Benchmark<Name extends string = string> {
  readonly name: string
  readonly about: string
  readonly options: Readonly<Record<Name, Option>>
  /** Longest run in minutes, after which it is given up. */
  readonly minutesMax: (options: Readonly<Record<Name, number>>) => number
  /** `tell` takes a line for whoever waits. */
  readonly run: (
    options: Readonly<Record<Name, number>>,
    tell: (line: string) => void
  ) => Promise<Pick<Report, "figures" | "reach">>
}

/** Returns what a reader must know of the machine to read the figures: others' load makes them worse. */
export const machine = (): Readonly<Record<string, unknown>> => ({
  processors: cpus().length,
  processor: cpus()[0]?.model ?? "unknown",
  loadBefore: loadavg()[0]
})
