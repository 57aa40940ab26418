/** What a benchmark is: a name, options to shorten it, and a run that ends in figures and goals. */
import { cpus } from "node:os"
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
  /** What files may stand behind the options, e.g. `MODEL.gguf`; absent where none may. */
  readonly files?: string
  /** Longest run in minutes, after which it is given up. */
  readonly minutesMax: (options: Readonly<Record<Name, number>>) => number
  /** `tell` takes a line for whoever waits; `files` are those of the command line, none mostly. */
  readonly run: (
    options: Readonly<Record<Name, number>>,
    tell: (line: string) => void,
    files: ReadonlyArray<string>
  ) => Promise<Pick<Report, "figures" | "reach">>
}

/** How long the processors are watched. */
const lookMs = 500

/** Returns the part of all processors' time that is used now, 0…1: before and after a run, what others use of it. */
export const busyPart = async (): Promise<number> => {
  const before = processorTimes()
  await Bun.sleep(lookMs)
  const after = processorTimes()
  return 1 - (after.idle - before.idle) / (after.all - before.all)
}

// internal

const processorTimes = (): { readonly idle: number; readonly all: number } => {
  const times = cpus().map((one) => one.times)
  return {
    idle: times.reduce((sum, { idle }) => sum + idle, 0),
    all: times.reduce((sum, { idle, irq, nice, sys, user }) => sum + idle + irq + nice + sys + user, 0)
  }
}
