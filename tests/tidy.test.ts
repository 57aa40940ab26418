/** Holds the repository to its style guide: the compiler, the linter, and the rules in `tidy/`. */
import { expect, test } from "bun:test"
import { join } from "node:path"
import { judge, render } from "./tidy/Rules.ts"
import { read } from "./tidy/Tree.ts"

const root = join(import.meta.dir, "..")

/** Longest run of a tool in milliseconds: each takes a few seconds when nothing else runs. */
const toolTimeoutMs = 120_000

/** Runs a tool of the repository under this Bun, as Node may be missing; returns what it found wrong. */
const tool = (name: string, ...parameters: ReadonlyArray<string>): string => {
  const cmd = [process.execPath, join(root, "node_modules", ".bin", name), ...parameters]
  const { exitCode, stdout, stderr } = Bun.spawnSync({ cmd, cwd: root })
  return exitCode === 0 ? "" : `${stdout}${stderr}` || `${name} ended with ${exitCode}`
}

test("every file passes the compiler", () => expect(tool("tsc", "-p", ".")).toBe(""), toolTimeoutMs)

test("every file passes the linter and is formatted", () => expect(tool("biome", "check", ".")).toBe(""), toolTimeoutMs)

test(
  "every file keeps the rules of the style guide",
  () => expect(judge(read(root)).map(render)).toEqual([]),
  toolTimeoutMs
)
