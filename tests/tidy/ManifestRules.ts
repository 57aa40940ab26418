/** Every package.json: exact versions, kept in one place, and dependencies that run one way. */
import { Schema } from "effect"
import { directionMend, mayUse, packageOf } from "./GraphRules.ts"
import type { Finding } from "./Source.ts"
import type { TreeRule } from "./Tree.ts"

const Versions = Schema.optionalWith(Schema.Record({ key: Schema.String, value: Schema.String }), {
  default: () => ({})
})

const Manifest = Schema.parseJson(
  Schema.Struct({
    dependencies: Versions,
    devDependencies: Versions,
    optionalDependencies: Versions,
    peerDependencies: Versions,
    workspaces: Schema.optionalWith(Schema.Struct({ catalog: Versions }), { default: () => ({ catalog: {} }) })
  })
)

const exact = /^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$/

const judge = (path: string, text: string): ReadonlyArray<Finding> => {
  const manifest = Schema.decodeUnknownSync(Manifest)(text)
  const found = (name: string, rule: string, mend: string): Finding => {
    const line = text.split("\n").findIndex((candidate) => candidate.includes(`"${name}":`)) + 1
    return { path, line, rule, mend }
  }
  const used = [
    ...Object.entries(manifest.dependencies),
    ...Object.entries(manifest.devDependencies),
    ...Object.entries(manifest.optionalDependencies),
    ...Object.entries(manifest.peerDependencies)
  ]
  return [
    ...Object.entries(manifest.workspaces.catalog)
      .filter(([, version]) => !exact.test(version))
      .map(([name, version]) => found(name, `${name} at ${version}`, "pin one exact version")),
    ...used.flatMap(([name, version]) => {
      const own = name.startsWith("@weft/")
      if (own && !mayUse(packageOf(path), name.slice("@weft/".length)))
        return [found(name, `${packageOf(path)} depends on ${name}`, directionMend)]
      const wanted = own ? "workspace:*" : "catalog:"
      return version === wanted ? [] : [found(name, `${name} at ${version}`, `write "${wanted}"`)]
    })
  ]
}

/** The rules of this file. */
export const manifestRules: ReadonlyArray<TreeRule> = [
  ({ files }) => [...files].flatMap(([path, text]) => (/(^|\/)package\.json$/.test(path) ? judge(path, text) : []))
]
