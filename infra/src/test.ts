/**
 * Runs the test files, two at once, each in a Bun process of its own: no globals, metrics or leftovers pass from one to
 * the next, and a native crash costs one file. Simulations run beside them, on what the two leave of the processors.
 * `npm test -- mesh e2e` runs the files whose path contains one of the words. Installs programs that the tests need
 * where it may, else says which. Ends with the files that took the most of the processors, and the line
 * `N passed, N failed`.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { setPriority, tmpdir } from "node:os"
import { join } from "node:path"
import { Glob } from "bun"
import { install } from "./SystemPackages.ts"

/** Files at once: most wait half of their time, for deadlines and for processes to start and to end. */
const lanes = 2

/** A simulation knows no time but its own, so it can wait until nobody else computes. */
const isSimulation = (file: string): boolean => file.endsWith("Simulation.test.ts")

/** How much a simulation stands back, from 0 to 19: at 10 it has a tenth of what another process has. */
const simulationNiceness = 10

/** Longest run of one file; it ends what hangs. The slowest (simulations, which stand back) take a fifth of it. */
const fileMinutesMax = 30

/** Longest a test or a hook takes that names no time of its own: Bun's 5 s are none for who waits for a processor. */
const testSecondsMax = 60

/** Files that are named for what they took of the processors: all of them together have to be done in 15 minutes. */
const dearestFiles = 10

interface Outcome {
  readonly passed: number
  readonly failed: number
}

/** What a file and all that it started took of the processors. */
interface Cost {
  readonly file: string
  readonly seconds: number
}

/** Returns the counts of Bun's JUnit report; `exitCode` tells of errors that belong to no test. */
const outcomeOf = (report: string, exitCode: number | null): Outcome => {
  const head = /<testsuites [^>]*>/.exec(report)?.[0] ?? ""
  const count = (name: string): number => Number(new RegExp(` ${name}="(\\d+)"`).exec(head)?.[1] ?? 0)
  const failed = count("failures")
  return {
    passed: count("tests") - failed - count("skipped"),
    failed: exitCode === 0 ? failed : Math.max(failed, 1)
  }
}

const textOf = (stream: ReadableStream<Uint8Array>): Promise<string> => new Response(stream).text()

/** Runs one file and prints all that it said in one piece. */
const runFile = async (file: string, folder: string): Promise<Outcome & Cost> => {
  const report = join(folder, `${file.replaceAll("/", "-")}.xml`)
  const child = Bun.spawn({
    cmd: [
      process.execPath,
      // Ends what a test forgot to end, and the test itself when this run is killed.
      "--no-orphans",
      "test",
      `--timeout=${testSecondsMax * 1_000}`,
      "--reporter=junit",
      `--reporter-outfile=${report}`,
      `./${file}`
    ],
    stdio: ["ignore", "pipe", "pipe"],
    timeout: fileMinutesMax * 60_000,
    killSignal: "SIGKILL"
  })
  if (isSimulation(file)) setPriority(child.pid, simulationNiceness)
  const [said, complained] = await Promise.all([textOf(child.stdout), textOf(child.stderr), child.exited])
  process.stderr.write(complained + said)
  if (child.signalCode !== null) console.error(`${file}: ended by ${child.signalCode}`)
  const outcome = outcomeOf(existsSync(report) ? readFileSync(report, "utf8") : "", child.exitCode)
  return { ...outcome, file, seconds: Number(child.resourceUsage()?.cpuTime.total ?? 0) / 1e6 }
}

const words = process.argv.slice(2)
const files = [...new Glob("tests/**/*.test.ts").scanSync({ cwd: join(import.meta.dir, "../..") })]
  .filter((file) => !file.includes("node_modules"))
  .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
  .sort()
const advice = await install(files)
if (advice !== undefined) {
  console.error(advice)
  process.exit(1)
}
const folder = mkdtempSync(join(tmpdir(), "weft-test-"))
const broken: Array<string> = []
const costs: Array<Cost> = []
let passed = 0
let failed = 0
const lane = async (waiting: Array<string>): Promise<void> => {
  for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
    const outcome = await runFile(file, folder)
    passed += outcome.passed
    failed += outcome.failed
    costs.push(outcome)
    if (outcome.failed > 0) broken.push(file)
  }
}
const simulations = files.filter(isSimulation)
const others = files.filter((file) => !isSimulation(file))
await Promise.all([lane(simulations), ...Array.from({ length: lanes }, () => lane(others))])
rmSync(folder, { recursive: true })
if (passed + failed === 0) console.error("No test ran: no file under tests/ matches, or every test was left out.")
const total = costs.reduce((sum, { seconds }) => sum + seconds, 0)
console.error(`\n${total.toFixed(0)} s of the processors, most of them:`)
for (const { file, seconds } of costs.sort((a, b) => b.seconds - a.seconds).slice(0, dearestFiles))
  console.error(`${seconds.toFixed(0).padStart(6)} s  ${file}`)
for (const file of broken) console.error(`failed: ${file}`)
console.log(`\n${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 && passed > 0 ? 0 : 1
