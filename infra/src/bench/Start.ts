/**
 * `start`: how long an entry takes from its start until it listens, from its bundle and from its sources, turn and turn
 * about, and what either takes of processor and memory for it.
 */
import type * as Benchmark from "./Benchmark.ts"
import * as Figures from "./Figures.ts"
import * as Mesh from "./Mesh.ts"
import * as ProcessFigures from "./ProcessFigures.ts"
import * as Report from "./Report.ts"

/** Part of a start from sources that one from the bundle may take; more would not be worth its making. */
const partMax = 0.5

const options = {
  pairs: { byDefault: 9, about: "pairs of a start from the bundle and one from the sources" }
} as const satisfies Record<string, Benchmark.Option>

/** Measures starts. */
export const start: Benchmark.Benchmark<keyof typeof options> = {
  name: "start",
  about: "time until an entry listens, from its bundle ÷ from its sources",
  options,
  minutesMax: ({ pairs }) => 2 + pairs / 4,
  run: async ({ pairs }, tell) => {
    // Makes the bundle where there is none, so that no pair has to.
    await once("bundle")
    const starts: Array<Record<Kind, Started>> = []
    for (let pair = 0; pair < pairs; pair++) {
      const isBundleFirst = pair % 2 === 0
      const early = await once(isBundleFirst ? "bundle" : "sources")
      const late = await once(isBundleFirst ? "sources" : "bundle")
      const started = isBundleFirst ? { bundle: early, sources: late } : { bundle: late, sources: early }
      starts.push(started)
      tell(kinds.map((kind) => `${kind} ${started[kind].ms.toFixed(0)} ms`).join(", "))
    }
    const figuresOf = (kind: Kind) => {
      const of = (figure: keyof Started) => Figures.spread(starts.map((pair) => pair[kind][figure]))
      return { ms: of("ms"), processorMs: of("processorMs"), residentMiB: of("residentMiB") }
    }
    const part = Figures.ratio(starts.map(({ bundle, sources }) => ({ through: bundle.ms, direct: sources.ms })))
    return {
      figures: { bundle: figuresOf("bundle"), sources: figuresOf("sources") },
      reach: [Report.atMost("start from the bundle ÷ from the sources, median of pairs", part, partMax)]
    }
  }
}

// internal

const kinds = ["bundle", "sources"] as const
type Kind = (typeof kinds)[number]

interface Started {
  readonly ms: number
  readonly processorMs: number
  readonly residentMiB: number
}

/** Starts an entry, looks at it once it listens, and ends it. */
const once = async (kind: Kind): Promise<Started> => {
  const startedMs = performance.now()
  const { program } = await Mesh.startEntry({ WEFT_FROM_SOURCES: kind === "sources" ? "1" : "0" })
  const ms = performance.now() - startedMs
  const processorMs = ProcessFigures.processorMs(program.pid)
  const residentMiB = ProcessFigures.residentBytes(program.pid) / 2 ** 20
  program.signal("SIGKILL")
  await program.exited
  return { ms, processorMs, residentMiB }
}
