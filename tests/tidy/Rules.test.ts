/** Each rule on the smallest file that breaks it and on one that keeps it. */
import { expect, test } from "bun:test"
import { judge, render } from "./Rules.ts"
import { fromFiles } from "./Tree.ts"

const header = "/** What this is. */\n"
const main = { "apps/peer/src/main.ts": `${header}import "@weft/mesh/Thing"\n` }
const thing = "packages/mesh/src/Thing.ts"

/** Returns the findings without their advice, for one module of a package that a program uses. */
const judgeThing = (body: string, path = thing): ReadonlyArray<string> =>
  judge(fromFiles({ ...main, [path]: `${header}import "effect"\n${body}\n` }))
    .filter((finding) => finding.path === path && finding.rule !== "dead file")
    .map((finding) => `${finding.line} ${finding.rule}`)

const documented = (declaration: string): string => `/** Returns it. */\n${declaration}`

/** What a rule says, a statement that breaks it (on the third line of its file), and one that keeps it. */
const ofOneFile: ReadonlyArray<readonly [rule: string, bad: string, good: string]> = [
  ["long line", `// ${"x".repeat(118)}`, `// ${"é".repeat(117)}`],
  ["function of 71 lines", `const f = () => {${"\n".repeat(70)}}`, `const f = () => {${"\n".repeat(69)}}`],
  ["async function", "const f = async () => 1", "const f = () => 1"],
  ["async function", "class A { async m() {} }", "class A { m() {} }"],
  ["try", "try { f() } catch {}", "Effect.try(f)"],
  ["Date.now", "Date.now()", "Clock.currentTimeMillis"],
  ["setTimeout", "globalThis.setTimeout(f, 1)", "Effect.sleep(1)"],
  ["setInterval", "setInterval(f, 1)", "clock.setInterval(f)"],
  ["Math.random", "Math.random()", "Math.round(1)"],
  ["new Date()", "new Date()", "new Date(now)"],
  ["console.log", "console.log(1)", "Effect.log(1)"],
  ["process.env", "f(process.env)", "f(process.pid)"],
  ["process.env", "f(process.env.HOME)", "f(environment.HOME)"],
  ["forkDaemon", "Effect.forkDaemon(f)", "Effect.forkScoped(f)"],
  ["forkDaemon", "f.pipe(Effect.forkDaemon)", "f.pipe(Effect.forkScoped)"],
  ["swallowed failure", "Effect.catchAll(() => Effect.void)", 'Effect.catchTag("A", () => Effect.void)'],
  ["any", "let a: any", "let a: unknown"],
  ["non-null !", "f(a!)", "f(!a)"],
  ["cast without a reason", "f(a as B)", "f(a as B) // Checked by the caller."],
  ["cast without a reason", "const a = <const T>(b: T) => b as unknown as T", "const a = [1] as const"],
  ["@ts-ignore", "// @ts-ignore because", "// ts ignores this"],
  ["@ts-expect-error", "// @ts-expect-error", "// @ts-expect-error the library declares no such option"],
  ["biome-ignore", "// biome-ignore lint/a/b: x", "// biome-ignore lint/a/b: the library returns nothing else"],
  ["unfinished work", "// TODO: more", 'f("TODO")'],
  ["export a without a sentence", "export const a = 1", documented("export const a = 1")],
  ["export A without a sentence", "export interface A {}", documented("export const A = 1\nexport type A = typeof A")],
  ["export a without a sentence", "const a = 1; export { a }", documented("const a = 1\nexport { a }")],
  ['"utils" in pathUtils', "/** Returns it. */ export const pathUtils = 1", documented("export const utility = 1")]
]

test.each(ofOneFile)("%s: found where it is, and only there", (rule, bad, good) => {
  expect(judgeThing(bad)).toEqual([`3 ${rule}`])
  expect(judgeThing(good)).toEqual([])
})

test("a file holds 400 lines and no more", () => {
  expect(judgeThing("\n".repeat(397))).toEqual([])
  expect(judgeThing("\n".repeat(398))).toEqual(["401 file of 401 lines"])
})

test("a file begins with a header of one to six lines", () => {
  const judgeText = (text: string) => judge(fromFiles({ "infra/src/a.ts": text, "infra/unit": "infra/src/a.ts" }))
  expect(judgeText("#!/usr/bin/env bun\n/** What this is. */\n")).toEqual([])
  expect(judgeText("const a = 1\n/** Late. */\n")[0]?.rule).toBe("no header")
  expect(judgeText("// Not for readers of docs.\n")[0]?.rule).toBe("no header")
  expect(judgeText(`/**\n${" * x\n".repeat(7)} */\n`)[0]?.rule).toBe("header of 7 lines")
})

test("main.ts, internal folders, infra and tests may call the platform directly", () => {
  for (const path of [
    "apps/peer/src/main.ts",
    "packages/mesh/src/internal/quic.ts",
    "infra/src/a.ts",
    "tests/a.test.ts"
  ])
    expect(
      judgeThing("const f = async () => { try { await Date.now() } catch { console.log(process.env) } }", path)
    ).toEqual([])
})

test("tests are whole: none is left out or singled out", () => {
  const path = "tests/mesh/Thing.test.ts"
  expect(judgeThing("test.only('a', f)", path)).toEqual(["3 .only("])
  expect(judgeThing("it.effect.skip('a', f)", path)).toEqual(["3 .skip("])
  expect(judgeThing("stream.skip(1)", path)).toEqual([])
})

test("a suite of tests may be long, one test may not", () => {
  const suite = (lines: number) =>
    `describe("a", () => {\n${`test("b", () => {${"\n".repeat(lines - 1)}})\n`.repeat(3)}})`
  expect(judgeThing(suite(60), "tests/mesh/Thing.test.ts")).toEqual([])
  expect(judgeThing(suite(71), "tests/mesh/Thing.test.ts")[0]).toBe("4 function of 71 lines")
})

test("modules and folders are named after what they hold", () => {
  expect(judgeThing("", "packages/mesh/src/PeerManager.ts")).toEqual(['1 "manager" in the path'])
  expect(judgeThing("", "tests/helpers/peer.ts")).toEqual(['1 "helpers" in the path'])
  expect(judgeThing("", "packages/mesh/src/thing.ts")).toEqual(["1 module thing.ts"])
  expect(judgeThing("", "packages/mesh/src/internal/thing.ts")).toEqual([])
})

const judgeImport = (path: string, specifier: string): ReadonlyArray<string> => {
  const other = { "packages/mesh/src/Other.ts": header, "packages/mesh/src/internal/quic.ts": header }
  return judge(fromFiles({ ...other, [path]: `${header}import "${specifier}"\n` })).map(({ rule }) => rule)
}

test("dependencies run one way", () => {
  expect(judgeImport("packages/engine/src/A.ts", "@weft/mesh/Other")).toEqual([])
  expect(judgeImport(thing, "@weft/engine/A")).toEqual(["mesh uses engine"])
  expect(judgeImport("packages/audit/src/A.ts", "@weft/payments/A")).toEqual(["audit uses payments"])
  expect(judgeImport("packages/payments/src/A.ts", "@weft/audit/A")).toEqual(["payments uses audit"])
  expect(judgeImport("packages/payments/src/A.ts", "@weft/peer/A")).toEqual(["payments uses peer"])
  expect(judgeImport("apps/entry/src/A.ts", "@weft/peer/A")).toEqual(["entry uses peer"])
  expect(judgeImport(thing, "@weft/unknown/A")).toEqual(["mesh uses unknown"])
})

test("an import names a file as it is on disk, and a package by what it exports", () => {
  expect(judgeImport(thing, "./Other.ts")).toEqual([])
  expect(judgeImport(thing, "./Other")).toEqual(["import of ./Other"])
  expect(judgeImport(thing, "@weft/mesh/Other")).toEqual(["import of its own package (@weft/mesh/Other)"])
  expect(judgeImport("packages/engine/src/A.ts", "@weft/mesh/internal/quic")).toEqual([
    "deep import (@weft/mesh/internal/quic)"
  ])
  const path = "../../mesh/src/Other.ts"
  expect(judgeImport("packages/engine/src/A.ts", path)).toEqual([`path into another package (${path})`])
  expect(judgeImport("tests/mesh/A.test.ts", "../../packages/mesh/src/internal/quic.ts")).toEqual([])
})

test("every file is reached from a program, a test, a page or a script", () => {
  const files = {
    "apps/peer/src/main.ts": `${header}import "./App.ts"\nimport page from "./page.html"\nimport("./Late.ts")\n`,
    "apps/peer/src/App.ts": `${header}new URL("./Child.ts", import.meta.url)\n`,
    "apps/peer/src/Child.ts": header,
    "apps/peer/src/Late.ts": `${header}type A = import("./Typed.ts").A\n`,
    "apps/peer/src/Typed.ts": header,
    "apps/peer/src/page.html": '<script src="./Page.ts"></script>',
    "apps/peer/src/Page.ts": header,
    "apps/peer/src/Round.ts": `${header}import "./About.ts"\n`,
    "apps/peer/src/About.ts": `${header}import "./Round.ts"\n`,
    "tests/peer/Thing.test.ts": `${header}import "../support/peer.ts"\n`,
    "tests/support/peer.ts": `${header}join(import.meta.dir, "fixtures", "child.ts")\n`,
    "tests/support/fixtures/child.ts": header,
    "infra/src/bench.ts": header,
    "package.json": '{"scripts":{"bench":"bun run infra/src/bench.ts"}}'
  }
  const dead = judge(fromFiles(files)).filter(({ rule }) => rule === "dead file")
  expect(dead.map(({ path }) => path)).toEqual(["apps/peer/src/Round.ts", "apps/peer/src/About.ts"])
})

const judgeManifest = (path: string, text: string): ReadonlyArray<string> =>
  judge(fromFiles({ [path]: text })).map(render)

test("versions are exact and stand in the catalog alone", () => {
  const good = '{"workspaces":{"packages":[],"catalog":{"a":"1.2.3-rc.1"}},"dependencies":{"a":"catalog:"}}'
  expect(judgeManifest("package.json", good)).toEqual([])
  expect(judgeManifest("package.json", '{"workspaces":{"catalog":{\n"a":"^1.2.3"}}}')).toEqual([
    "package.json:2 a at ^1.2.3 — pin one exact version"
  ])
  expect(judgeManifest("infra/package.json", '{"devDependencies":{"a":"1.2.3"}}')).toEqual([
    'infra/package.json:1 a at 1.2.3 — write "catalog:"'
  ])
  expect(judgeManifest("apps/peer/package.json", '{"dependencies":{"@weft/mesh":"1.0.0"}}')).toEqual([
    'apps/peer/package.json:1 @weft/mesh at 1.0.0 — write "workspace:*"'
  ])
  const upward = '{"dependencies":{"@weft/peer":"workspace:*"}}'
  expect(judgeManifest("packages/mesh/package.json", upward)[0]).toStartWith(
    "packages/mesh/package.json:1 mesh depends on"
  )
})

test("no text names a folder of one machine", () => {
  const path = ["", "home", "ada", "weft"].join("/")
  expect(judgeManifest("README.md", `\nrun ${path}/peer`)).toEqual([
    "README.md:2 machine path — use a relative path, os.tmpdir() or a setting"
  ])
  expect(judgeManifest("README.md", `see https://example.org${path} and .${path}`)).toEqual([])
  expect(judgeManifest("infra/weft.unit", `WorkingDirectory=${path}`)).toEqual([])
})
