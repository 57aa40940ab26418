/** The units: systemd takes them, they are hardened, and what they start runs with the settings beside them. */
import { describe, expect, test } from "bun:test"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect } from "effect"
import { it } from "../../support/effect.ts"
import { directory, modelPath, type Program, start } from "../../support/processes.ts"
import { infra, textOf } from "./queries.ts"

const root = new URL("../", `file://${infra}`).pathname

/** As in the units; what is there on an operator's machine. */
const installed = { program: "/usr/local/bin/bun", folder: "/opt/weft" }

/** Tenths of systemd's exposure, 0 to 100; 11 and 12 now. Most of that is the network, which they need. */
const exposureMax = 15

/** systemd-analyze takes a second; two programs and a model start in some. */
const timeoutMs = 60_000

const analyze = (...args: ReadonlyArray<string>) => {
  const { exitCode, stderr, stdout } = Bun.spawnSync(["systemd-analyze", ...args])
  return { exitCode, text: `${stdout}${stderr}` }
}

/** Returns what a unit says under a name, in order. */
const settings = (unit: string, name: string): ReadonlyArray<string> =>
  unit.split("\n").flatMap((line) => (line.startsWith(`${name}=`) ? [line.slice(name.length + 1)] : []))

/** Returns the variables of an environment file; `commented` also those that show a default. */
const variables = (text: string, commented: boolean): ReadonlyMap<string, string> =>
  new Map(
    [...text.matchAll(commented ? /^#?(WEFT_[A-Z_]+)=(.*)$/gm : /^(WEFT_[A-Z_]+)=(.*)$/gm)].map(
      ([, name = "", value = ""]) => [name, value] as const
    )
  )

/** Starts what a unit starts, in its folder, with its environment and the file's, as systemd would split it. */
const startUnit = Effect.fnUntraced(function* (name: "entry" | "peer", own: Readonly<Record<string, string>>) {
  const unit = yield* Effect.promise(() => textOf(`systemd/weft-${name}.service`))
  const file = yield* Effect.promise(() => textOf(`systemd/${name}.env`))
  const environment = {
    ...Object.fromEntries(settings(unit, "Environment").map((pair) => pair.split("=", 2))),
    ...Object.fromEntries(variables(file, false)),
    WEFT_DATA_DIR: yield* directory,
    ...own
  }
  const [program, ...args] = (settings(unit, "ExecStart")[0] ?? "").split(" ")
  expect(program).toBe(installed.program)
  expect(settings(unit, "WorkingDirectory")).toEqual([installed.folder])
  const words = args.flatMap((word) => (word.startsWith("$") ? (environment[word.slice(1)] ?? "").split(" ") : [word]))
  return yield* start([...words, "--json"].map(freely), environment)
})

/** The unit's port may be taken on this machine. */
const freely = (word: string): string => (word === "9464" ? "0" : word)

const stop = (program: Program) =>
  program.process.kill("SIGTERM").pipe(Effect.zipRight(program.process.exitCode), Effect.map(Number), Effect.orDie)

describe.each(["weft-entry", "weft-peer"])("%s.service", (name) => {
  test(
    "is what systemd takes, without a warning",
    async () => {
      const folder = mkdtempSync(join(tmpdir(), "weft-unit-"))
      const path = join(folder, `${name}.service`)
      const text = await textOf(`systemd/${name}.service`)
      await Bun.write(path, text.replaceAll(installed.program, process.execPath).replaceAll(installed.folder, root))
      expect(analyze("verify", "--man=no", path)).toEqual({ exitCode: 0, text: "" })
      rmSync(folder, { recursive: true })
    },
    timeoutMs
  )

  test("shows little to whoever breaks into it", () => {
    const path = `${infra}systemd/${name}.service`
    const { exitCode, text } = analyze("security", "--offline=true", `--threshold=${exposureMax}`, "--no-pager", path)
    expect(`${exitCode} ${exitCode === 0 ? "" : text}`).toBe("0 ")
  })

  test("waits for answers under way longer than the program does, and starts it again whatever happens", async () => {
    const unit = await textOf(`systemd/${name}.service`)
    expect(Number(settings(unit, "TimeoutStopSec")[0])).toBeGreaterThan(15)
    expect(settings(unit, "KillMode")).toEqual(["mixed"])
    expect(settings(unit, "Restart")).toEqual(["always"])
    expect(settings(unit, "StartLimitIntervalSec")).toEqual(["0"])
  })
})

test("environment files name only what the programs read", async () => {
  const config = `${await Bun.file(`${root}apps/entry/src/EntryConfig.ts`).text()}
    ${await Bun.file(`${root}apps/entry/src/fallback/FallbackConfig.ts`).text()}`
  const entry = [...variables(await textOf("systemd/entry.env"), true).keys()]
  expect(entry.filter((name) => !config.includes(`("${name.slice("WEFT_".length)}"`))).toEqual([])
  const options = `${await Bun.file(`${root}apps/peer/src/PeerConfig.ts`).text()}
    ${await Bun.file(`${root}apps/peer/src/commands/up.ts`).text()}
    ${(await textOf("systemd/weft-peer.service")).replace("$WEFT_PEER_OPTIONS", '"WEFT_PEER_OPTIONS"')}`
  const peer = [...variables(await textOf("systemd/peer.env"), true).keys()]
  expect(peer.filter((name) => !options.includes(`"${name}"`))).toEqual([])
})

it.live(
  "what the units start serves a model, and leaves with 0 when systemd asks",
  () =>
    Effect.gen(function* () {
      const entry = yield* startUnit("entry", { WEFT_HTTP_PORT: "0", WEFT_MESH_PORT: "0" })
      const { url } = yield* entry.event("listening")
      const peer = yield* startUnit("peer", {
        WEFT_ENTRY: String(url),
        WEFT_PEER_OPTIONS: `--model ${modelPath("tiny-small-f16")}`
      })
      yield* peer.event("registered")
      expect(yield* stop(peer)).toBe(0)
      expect(yield* stop(entry)).toBe(0)
    }),
  timeoutMs
)
