/** The whole repository as the rules see it, read from the working tree, so that git need not be installed. */
import { readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { Glob } from "bun"
import { type Finding, parse, type Source } from "./Source.ts"

/** Represents every file that belongs to the repository. */
export interface Tree {
  /** Text by path; empty for what is no text or too large to be written by hand. */
  readonly files: ReadonlyMap<string, string>
  /** Every TypeScript and JavaScript file of packages, apps, infra and tests. */
  readonly sources: ReadonlyMap<string, Source>
}

/** Represents a check of how files belong together. */
export type TreeRule = (tree: Tree) => ReadonlyArray<Finding>

/** Largest file read as text: hand-written files are far below, models and recordings far above. */
const textBytesMax = 1024 * 1024

/** Left out: what is installed, made at run time, or written by a tool; as .gitignore says, and git's own folder. */
const foreign = /(^|\/)(node_modules|\.weft|\.git)(\/|$)|^tests\/artifacts\/|\.log$|^bun\.lock$/

/** Returns the tree of the given texts. */
export const fromFiles = (files: Readonly<Record<string, string>>): Tree => ({
  files: new Map(Object.entries(files)),
  sources: new Map(
    Object.entries(files)
      .filter(([path]) => /^(packages|apps|infra|tests)\/.*\.(tsx?|m?js)$/.test(path))
      .map(([path, text]) => [path, parse(path, text)])
  )
})

const readText = (path: string): string => {
  if (statSync(path).size > textBytesMax) return ""
  const text = readFileSync(path, "utf8")
  return text.includes("\0") ? "" : text
}

/** Returns the tree below `root`. */
export const read = (root: string): Tree =>
  fromFiles(
    Object.fromEntries(
      [...new Glob("**/*").scanSync({ cwd: root, dot: true })]
        .filter((path) => !foreign.test(path))
        .sort()
        .map((path) => [path, readText(join(root, path))])
    )
  )
