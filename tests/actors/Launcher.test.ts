/** Programs started from one file: what is taken when, and that a bundle knows where its sources lie. */
import { describe, expect } from "bun:test"
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect } from "effect"
import { it } from "../support/effect.ts"

const launcher = new URL("../../packages/actors/src/Launcher.ts", import.meta.url).href

const sources = {
  "bun.lock": "{}",
  "tsconfig.json": "{}",
  "packages/one/package.json": "{}",
  "packages/one/src/main.ts": `import * as Launcher from "${launcher}"
    await Launcher.launch(new URL("./program.ts", import.meta.url))`,
  "packages/one/src/program.ts": `import * as Beside from "./inner/Beside.ts"
    const { dir, url } = import.meta
    console.log(JSON.stringify({ ...Beside, dir, url, args: process.argv.slice(2) }))`,
  "packages/one/src/inner/Beside.ts": `export const word = "first"
    export const { path } = import.meta
    export const beside = new URL("./other.c", import.meta.url).pathname`
}

/** A checkout of one package, removed with the scope. */
const checkout = Effect.acquireRelease(
  Effect.sync(() => {
    const root = mkdtempSync(join(tmpdir(), "weft-test-"))
    for (const [path, text] of Object.entries(sources)) {
      mkdirSync(join(root, path, ".."), { recursive: true })
      writeFileSync(join(root, path), text)
    }
    return root
  }),
  (root) => Effect.sync(() => rmSync(root, { recursive: true }))
)

/** Starts the program of a checkout; returns what it said, and what it complained of. */
const start = (root: string, environment: Record<string, string> = {}) =>
  Effect.promise(async () => {
    const child = Bun.spawn([process.execPath, join(root, "packages/one/src/main.ts"), "--flag", "a b"], {
      cwd: tmpdir(),
      env: { ...process.env, ...environment },
      stdout: "pipe",
      stderr: "pipe"
    })
    const [said, complaint] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()])
    return { said: said.trim(), complaint, code: await child.exited }
  })

const programs = (root: string) => join(root, ".weft/programs")
const bundles = (root: string) => readdirSync(programs(root)).filter((name) => name.endsWith(".js"))

/** What the program says, wherever it is started from. */
const expected = (root: string, word = "first") => {
  const folder = join(root, "packages/one/src")
  const beside = { word, path: join(folder, "inner/Beside.ts"), beside: join(folder, "inner/other.c") }
  return { ...beside, dir: folder, url: `file://${folder}/program.ts`, args: ["--flag", "a b"] }
}

describe("a program", () => {
  it.live("is bundled by its first start, and taken from the bundle by the next", () =>
    Effect.gen(function* () {
      const root = yield* checkout
      expect(JSON.parse((yield* start(root)).said)).toEqual(expected(root))
      const [bundle = "", ...others] = bundles(root)
      expect(others).toEqual([])
      expect(readdirSync(programs(root)).sort()).toEqual([bundle, `${bundle}.jsc`, `${bundle}.map`])
      expect(JSON.parse((yield* start(root)).said)).toEqual(expected(root))
      appendFileSync(join(programs(root), bundle), `\nconsole.log("from the bundle")`)
      expect((yield* start(root)).said).toContain("from the bundle")
      const { said } = yield* start(root, { WEFT_FROM_SOURCES: "1" })
      expect(JSON.parse(said)).toEqual(expected(root))
    })
  )

  it.live("is bundled anew when a source or a library changes; what nobody starts goes", () =>
    Effect.gen(function* () {
      const root = yield* checkout
      yield* start(root)
      const [first = ""] = bundles(root)
      writeFileSync(
        join(root, "packages/one/src/inner/Beside.ts"),
        `${sources["packages/one/src/inner/Beside.ts"]}
        export const more = true`
      )
      expect(JSON.parse((yield* start(root)).said)).toEqual({ ...expected(root), more: true })
      expect(bundles(root).length).toBe(2)
      // As a bundler leaves it that is killed.
      const unfinished = join(programs(root), "unfinished-Ab12Cd")
      mkdirSync(unfinished)
      writeFileSync(join(unfinished, "packages-one-src-program.js"), "half of it")
      const old = new Date(Date.now() - 2 * 60 * 60 * 1_000)
      for (const name of readdirSync(programs(root))) utimesSync(join(programs(root), name), old, old)
      writeFileSync(join(root, "bun.lock"), `{ "lockfileVersion": 1 }`)
      yield* start(root)
      expect(bundles(root)).not.toContain(first)
      expect(bundles(root).length).toBe(1)
      expect(existsSync(unfinished)).toBe(false)
    })
  )

  it.live("runs from its sources where nothing can be written, or bundled", () =>
    Effect.gen(function* () {
      const root = yield* checkout
      writeFileSync(join(root, ".weft"), "no folder")
      expect(JSON.parse((yield* start(root)).said)).toEqual(expected(root))
      rmSync(join(root, ".weft"))
      appendFileSync(join(root, "packages/one/src/inner/Beside.ts"), "\nawait Promise.resolve()")
      expect(JSON.parse((yield* start(root)).said)).toEqual(expected(root))
      expect(bundles(root)).toEqual([])
      rmSync(join(root, "bun.lock"))
      expect(JSON.parse((yield* start(root)).said)).toEqual(expected(root))
    })
  )

  it.live("whose bundle fails names the sources", () =>
    Effect.gen(function* () {
      const root = yield* checkout
      appendFileSync(join(root, "packages/one/src/program.ts"), `\nthrow new Error("as it should")`)
      for (const _ of ["made", "taken"]) {
        const { code, complaint } = yield* start(root)
        expect(complaint).toContain("as it should")
        expect(complaint).toContain("packages/one/src/program.ts:4")
        expect(code).toBe(1)
      }
      expect(bundles(root).length).toBe(1)
    })
  )

  it.live("that is broken says what its sources would say", () =>
    Effect.gen(function* () {
      const root = yield* checkout
      writeFileSync(join(root, "packages/one/src/inner/Beside.ts"), `import "./Missing.ts"`)
      const { code, complaint } = yield* start(root)
      expect(complaint).toContain("./Missing.ts")
      expect(code).toBe(1)
    })
  )

  it.live("started many times at once makes one bundle of it", () =>
    Effect.gen(function* () {
      const root = yield* checkout
      const starts = yield* Effect.all(
        Array.from({ length: 6 }, () => start(root)),
        { concurrency: "unbounded" }
      )
      expect(starts.map(({ said }) => JSON.parse(said))).toEqual(starts.map(() => expected(root)))
      const [bundle = "", ...others] = bundles(root)
      expect(others).toEqual([])
      expect(readdirSync(programs(root)).sort()).toEqual([bundle, `${bundle}.jsc`, `${bundle}.map`])
    })
  )
})
