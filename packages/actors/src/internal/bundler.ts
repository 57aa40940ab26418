/**
 * The process that bundles a program: `bun bundler.ts SOURCE BUNDLE`. Byte code, map and at last the bundle come into
 * their places whole; older ones of the same program go, and what bundlers left that were killed.
 */
import { mkdtempSync, readdirSync, renameSync, rmSync, statSync } from "node:fs"
import { dirname, join, parse } from "node:path"
import { pathToFileURL } from "node:url"
import type { BunPlugin } from "bun"

/** A start that found an older bundle has read it by then. */
const keptMs = 60 * 60 * 1_000

const [source = "", bundle = ""] = process.argv.slice(2)

/** Says in every module where its source lies: C code, pages and the programs of child processes lie beside it. */
const places: BunPlugin = {
  name: "places",
  setup: (build) =>
    void build.onLoad({ filter: /\.(m?js|tsx?)$/ }, async ({ loader, path }) => {
      const text = await Bun.file(path).text()
      const dir = dirname(path)
      const meta = { url: pathToFileURL(path).href, path, filename: path, dir, dirname: dir, main: false }
      return { contents: text.replaceAll(/\bimport\.meta\b/g, () => `(${JSON.stringify(meta)})`), loader }
    })
}

const { dir: folder, name } = parse(bundle)
const unfinishedName = "unfinished-"
const unfinished = mkdtempSync(join(folder, unfinishedName))
process.on("exit", () => rmSync(unfinished, { recursive: true }))

// Translated to byte code too, which only a script can be, so a program cannot wait at its top level.
await Bun.build({
  entrypoints: [source],
  outdir: unfinished,
  naming: `${name}.[ext]`,
  target: "bun",
  format: "cjs",
  bytecode: true,
  // Errors name the sources.
  sourcemap: "linked",
  plugins: [places]
})
const map = Bun.file(join(unfinished, `${name}.js.map`))
const { sourcesContent, ...rest } = await map.json()
// The map must have texts, and they take most of the time in which it is read at each start.
await map.write(JSON.stringify({ ...rest, sourcesContent: sourcesContent.map(() => "") }))
for (const end of [".js.jsc", ".js.map", ".js"]) renameSync(join(unfinished, name + end), join(folder, name + end))

const program = name.slice(0, name.lastIndexOf("-") + 1)
for (const file of readdirSync(folder).filter((file) =>
  [program, unfinishedName].some((name) => file.startsWith(name))
)) {
  const path = join(folder, file)
  // Another bundler may have taken its own away meanwhile.
  const modifiedMs = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()
  if (Date.now() - modifiedMs > keptMs) rmSync(path, { recursive: true, force: true })
}
