/**
 * `bun run bench NAME [--json] [--OPTION NUMBER]… [FILE]…` measures one thing and prints a report: one JSON object on
 * standard output with `--json`, lines for people without. Exits with 1 when a goal is unmet or the run failed, 2 for
 * wrong usage.
 */
import { availableParallelism, cpus } from "node:os"
import { parseArgs } from "node:util"
import { activations } from "./bench/Activations.ts"
import { type Benchmark, busyPart } from "./bench/Benchmark.ts"
import { failover } from "./bench/Failover.ts"
import { gateway } from "./bench/Gateway.ts"
import { load } from "./bench/Load.ts"
import { prefix } from "./bench/Prefix.ts"
import * as Programs from "./bench/Programs.ts"
import * as Report from "./bench/Report.ts"
import { routing } from "./bench/Routing.ts"
import { solo } from "./bench/Solo.ts"
import { split } from "./bench/Split.ts"
import { splitFailover } from "./bench/SplitFailover.ts"
import { splitRpc } from "./bench/SplitRpc.ts"
import { start } from "./bench/Start.ts"

const benchmarks: ReadonlyArray<Benchmark> = [
  solo,
  gateway,
  failover,
  load,
  split,
  splitRpc,
  splitFailover,
  activations,
  routing,
  prefix,
  start
]

const exitCodeOfUsage = 2

const list = (): string =>
  benchmarks
    .flatMap(({ about, files, name, options }) => [
      `${name.padEnd(10)} ${about}`,
      ...(files === undefined ? [] : [`  ${files.padEnd(22)} files to measure`]),
      ...Object.entries(options).map(
        ([option, { about, byDefault }]) => `  --${option.padEnd(20)} ${about} (${byDefault})`
      )
    ])
    .join("\n")

/** Returns the options of `benchmark` from the command line; throws where one is unknown or no number. */
const optionsOf = (benchmark: Benchmark, args: ReadonlyArray<string>) => {
  const { positionals, values } = parseArgs({
    args: [...args],
    allowPositionals: benchmark.files !== undefined,
    options: {
      json: { type: "boolean" },
      ...Object.fromEntries(Object.keys(benchmark.options).map((option) => [option, { type: "string" as const }]))
    }
  })
  const numbers = Object.entries(benchmark.options).map(([option, { byDefault }]) => {
    const value = Number(values[option as keyof typeof values] ?? byDefault)
    if (!(value >= 0)) throw new Error(`--${option} takes a number of at least 0`)
    return [option, value] as const
  })
  return { json: values.json === true, options: Object.fromEntries(numbers), files: positionals }
}

/** Runs to the end or to its bound; a run that fails is a report whose one goal is unmet. */
const run = async (
  benchmark: Benchmark,
  options: Readonly<Record<string, number>>,
  files: ReadonlyArray<string>
): Promise<Report.Report> => {
  const startedMs = performance.now()
  const tell = (line: string): void =>
    console.error(`${((performance.now() - startedMs) / 1000).toFixed(1).padStart(6)} s  ${line}`)
  const minutes = benchmark.minutesMax(options)
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Error(`not done after ${minutes} minutes`)), minutes * 60_000)
  const busyBefore = await busyPart()
  try {
    const { figures, reach } = await Promise.race([benchmark.run(options, tell, files), late.promise])
    Programs.endAll()
    const busy = { busyBefore, busyAfter: await busyPart() }
    const machine = { processors: availableParallelism(), processor: cpus()[0]?.model, ...busy }
    return { name: benchmark.name, figures: { machine, options, ...figures }, reach }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    const reach = [{ what: "the run came to its end", value: 0, goal: "= 1", met: false }]
    return { name: benchmark.name, figures: { failed: reason }, reach }
  } finally {
    clearTimeout(timer)
    Programs.endAll()
  }
}

const [name = "list", ...args] = process.argv.slice(2)
const benchmark = benchmarks.find((one) => one.name === name)
if (benchmark === undefined) {
  const isKnown = name === "list"
  console[isKnown ? "log" : "error"](isKnown ? list() : `There is no benchmark '${name}'.\n\n${list()}`)
  process.exit(isKnown ? 0 : exitCodeOfUsage)
}
let given: ReturnType<typeof optionsOf>
try {
  given = optionsOf(benchmark, args)
} catch (error) {
  console.error(`${error instanceof Error ? error.message : error}\n\n${list()}`)
  process.exit(exitCodeOfUsage)
}
const report = await run(benchmark, given.options, given.files)
console.log(given.json ? Report.toJson(report) : Report.toText(report))
process.exit(Report.exitCodeOf(report))
