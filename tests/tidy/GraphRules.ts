/** Which file may use which: dependencies run one way, packages keep their insides, and every file is used. */
import { dirname, normalize } from "node:path"
import { type Finding, findings, type Reference, type Source } from "./Source.ts"
import type { Tree, TreeRule } from "./Tree.ts"

/** Height of each package; a package may use only lower ones. Audit and payments are neighbours, as are the apps. */
const heights: Readonly<Record<string, number>> = {
  actors: 0,
  mesh: 1,
  engine: 2,
  audit: 3,
  payments: 3,
  entry: 4,
  peer: 4,
  infra: 5,
  tests: 6
}

/** Returns the package that a path lies in, e.g. `mesh` for `packages/mesh/src/Transport.ts`. */
export const packageOf = (path: string): string => {
  const [top = "", name = ""] = path.split("/")
  return top === "packages" || top === "apps" ? name : top
}

/** Tells whether `from` may depend on `to`; both are names without `@weft/`. */
export const mayUse = (from: string, to: string): boolean =>
  from === to || (heights[from] ?? -1) > (heights[to] ?? Number.POSITIVE_INFINITY)

/** How a dependency that runs the wrong way is mended. */
export const directionMend =
  "dependencies run actors ← mesh ← engine ← audit | payments ← apps: move the shared part down"

const folderOf = (name: string): string =>
  name === "infra" || name === "tests"
    ? name
    : name === "entry" || name === "peer"
      ? `apps/${name}`
      : `packages/${name}`

const resolved = (source: Source, specifier: string): string => normalize(`${dirname(source.path)}/${specifier}`)

/** Returns the files that a reference may mean; a mention may be the end of a path joined at run time. */
const targets = (tree: Tree, source: Source, { kind, specifier }: Reference): ReadonlyArray<string> => {
  const [scope, name, ...rest] = specifier.split("/")
  if (scope === "@weft" && name !== undefined) {
    const path = `${folderOf(name)}/src/${rest.length === 0 ? "index" : rest.join("/")}`
    return [`${path}.ts`, `${path}.tsx`]
  }
  if (kind === "mention") {
    const folder = `${dirname(source.path)}/`
    const below = [...tree.files.keys()].filter((path) => path.startsWith(folder) && path.endsWith(`/${specifier}`))
    return [resolved(source, specifier), specifier, ...below]
  }
  return specifier.startsWith(".") ? [resolved(source, specifier)] : []
}

/** Tests alone may reach a package's `internal/`, by path, as its exports refuse it. */
const judgeImport = (tree: Tree, source: Source, { specifier, line }: Reference): ReadonlyArray<Finding> => {
  const found = (rule: string, mend: string): ReadonlyArray<Finding> => [findings(source, rule, mend)(line)]
  const from = packageOf(source.path)
  const [scope, to, ...rest] = specifier.split("/")
  if (scope === "@weft" && to !== undefined) {
    if (to === from) return found(`import of its own package (${specifier})`, "use a relative path")
    if (!mayUse(from, to)) return found(`${from} uses ${to}`, directionMend)
    if (rest.includes("internal") || rest[0] === "src")
      return found(`deep import (${specifier})`, "use what it exports")
    return []
  }
  if (!specifier.startsWith(".")) return []
  const path = resolved(source, specifier)
  const isTestOfInside = from === "tests" && path.includes("/src/internal/")
  if (packageOf(path) !== from && !isTestOfInside)
    return found(`path into another package (${specifier})`, "import it by its @weft/ name")
  return tree.files.has(path) ? [] : found(`import of ${specifier}`, "name the file as it is on disk, with .ts")
}

const imports: TreeRule = (tree) =>
  [...tree.sources.values()].flatMap((source) =>
    source.references
      .filter(({ kind }) => kind === "import")
      .flatMap((reference) => judgeImport(tree, source, reference))
  )

/** Pages name their scripts and styles in attributes. */
const pageTargets = (path: string, text: string): ReadonlyArray<string> =>
  [...text.matchAll(/(?:src|href)="(\.[^"]+)"/g)].map((match) => normalize(`${dirname(path)}/${match[1]}`))

/** Begun from outside: programs, tests, and what a script, a unit or a container file names. */
const isStart = (path: string, outside: string): boolean =>
  /\/src\/main\.tsx?$|\.test\.tsx?$/.test(path) || outside.includes(path)

/** Judges nothing while no program exists, as then every file waits for one. */
const deadFiles: TreeRule = (tree) => {
  if (![...tree.sources.keys()].some((path) => /^apps\/[^/]+\/src\/main\.ts$/.test(path))) return []
  const outside = [...tree.files]
    .filter(
      ([path]) => /^(package\.json|\.ci\/|infra\/)/.test(path) && !tree.sources.has(path) && !path.endsWith(".md")
    )
    .map(([, text]) => text)
    .join("\n")
  const reached = new Set<string>()
  const waiting = [...tree.sources.keys()].filter((path) => isStart(path, outside))
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (reached.has(path) || !tree.files.has(path)) continue
    reached.add(path)
    const source = tree.sources.get(path)
    if (source !== undefined)
      waiting.push(...source.references.flatMap((reference) => targets(tree, source, reference)))
    else if (path.endsWith(".html")) waiting.push(...pageTargets(path, tree.files.get(path) ?? ""))
  }
  return [...tree.sources.values()]
    .filter(({ path }) => !reached.has(path) && !path.endsWith("/src/index.ts"))
    .map((source) => findings(source, "dead file", "use it from a program or a test, or delete it")(1))
}

/** The rules of this file. */
export const graphRules: ReadonlyArray<TreeRule> = [imports, deadFiles]
