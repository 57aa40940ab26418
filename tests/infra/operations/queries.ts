/** Every query of the dashboards and rules, and what a query asks for, read without a parser of all PromQL. */
import { Glob, YAML } from "bun"
import { Schema } from "effect"

/** Absolute path of the folder `infra`. */
export const infra = new URL("../../../infra/", import.meta.url).pathname

const Target = Schema.Struct({ refId: Schema.String, expr: Schema.String, legendFormat: Schema.String })
const Threshold = Schema.Struct({ color: Schema.String, value: Schema.NullOr(Schema.Number) })
const Panel = Schema.Struct({
  id: Schema.Int,
  type: Schema.String,
  title: Schema.String,
  description: Schema.optional(Schema.String),
  datasource: Schema.optional(Schema.Struct({ type: Schema.String, uid: Schema.String })),
  gridPos: Schema.Struct({ h: Schema.Int, w: Schema.Int, x: Schema.Int, y: Schema.Int }),
  targets: Schema.optionalWith(Schema.Array(Target), { default: () => [] }),
  fieldConfig: Schema.optional(
    Schema.Struct({
      defaults: Schema.Struct({ unit: Schema.String, thresholds: Schema.Struct({ steps: Schema.Array(Threshold) }) })
    })
  )
})
const Variable = Schema.Struct({ name: Schema.String, type: Schema.String, definition: Schema.optional(Schema.String) })

/** Represents what Grafana needs to know of a dashboard; everything else has a default there. */
export const Dashboard = Schema.Struct({
  uid: Schema.String,
  title: Schema.String,
  description: Schema.String,
  schemaVersion: Schema.Int,
  id: Schema.Null,
  annotations: Schema.Struct({ list: Schema.Array(Schema.Struct({ name: Schema.String, expr: Schema.String })) }),
  templating: Schema.Struct({ list: Schema.Array(Variable) }),
  panels: Schema.Array(Panel)
})
export type Dashboard = typeof Dashboard.Type

const Rule = Schema.Struct({
  alert: Schema.optional(Schema.String),
  record: Schema.optional(Schema.String),
  expr: Schema.String,
  labels: Schema.optional(Schema.Record({ key: Schema.String, value: Schema.String })),
  annotations: Schema.optional(Schema.Record({ key: Schema.String, value: Schema.String }))
})
const RuleFile = Schema.Struct({
  groups: Schema.Array(Schema.Struct({ name: Schema.String, rules: Schema.Array(Rule) }))
})

/** Returns the text of a file below `infra`. */
export const textOf = (path: string): Promise<string> => Bun.file(`${infra}${path}`).text()

/** Returns the rules of a file below `infra/prometheus`. */
export const rulesOf = async (file: string): Promise<ReadonlyArray<typeof Rule.Type>> =>
  Schema.decodeUnknownSync(RuleFile)(YAML.parse(await textOf(`prometheus/${file}`))).groups.flatMap(
    ({ rules }) => rules
  )

/** Returns every dashboard by its file's name. */
export const dashboards = async (): Promise<ReadonlyMap<string, Dashboard>> => {
  const files = [...new Glob("*.json").scanSync({ cwd: `${infra}grafana/dashboards` })].sort()
  const decode = Schema.decodeUnknownSync(Schema.parseJson(Dashboard))
  return new Map(
    await Promise.all(files.map(async (file) => [file, decode(await textOf(`grafana/dashboards/${file}`))] as const))
  )
}

/** Represents a query and where it stands. */
export interface Query {
  readonly where: string
  readonly expr: string
}

/** Returns every query of dashboards, their variables, and rules; Grafana's variables have the values of "all". */
export const queries = async (): Promise<ReadonlyArray<Query>> => {
  const panels = [...(await dashboards())].flatMap(([file, { annotations, panels, templating }]) => [
    ...panels.flatMap(({ targets, title }) => targets.map(({ expr }) => ({ where: `${file}: ${title}`, expr }))),
    ...annotations.list.map(({ expr, name }) => ({ where: `${file}: ${name}`, expr })),
    ...templating.list.flatMap(({ definition, name }) => {
      const selector = /^label_values\((.+), \w+\)$/.exec(definition ?? "")?.[1]
      return selector === undefined ? [] : [{ where: `${file}: $${name}`, expr: selector }]
    })
  ])
  const rules = [...(await rulesOf("recording.yml")), ...(await rulesOf("alerts.yml"))].map(
    ({ alert, expr, record }) => ({ where: `rule ${alert ?? record}`, expr })
  )
  return [...panels, ...rules].map(({ expr, where }) => ({
    where,
    expr: expr.replaceAll("$__rate_interval", "10s").replaceAll(/\$\w+/g, ".*")
  }))
}

const words = new Set(["and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "inf", "nan"])

const withoutStrings = (expr: string): string => expr.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""')

/** Returns the metrics that a query asks for. */
export const metricsOf = (expr: string): ReadonlyArray<string> => {
  const bare = withoutStrings(expr)
    .replaceAll(/\{[^}]*\}|\[[^\]]*\]/g, " ")
    .replaceAll(/\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/g, " ")
  const names = bare.match(/(?<![\w.:])[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])/g) ?? []
  return [...new Set(names.filter((name) => !words.has(name)))]
}

/** Returns the labels by which a query chooses series of a metric, as pairs of metric and label. */
export const labelsOf = (expr: string): ReadonlyArray<readonly [metric: string, label: string]> =>
  [...withoutStrings(expr).matchAll(/([a-zA-Z_:][\w:]*)\{([^}]*)\}/g)].flatMap(([, metric = "", inside = ""]) =>
    [...inside.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label = ""]) => [metric, label] as const)
  )
