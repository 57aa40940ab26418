/** Dashboards load in a fresh Grafana as they are, and tell an operator what they show. */
import { expect, test } from "bun:test"
import { YAML } from "bun"
import { Schema } from "effect"
import { type Dashboard, dashboards, textOf } from "./queries.ts"

const all = [...(await dashboards())]
type Panel = Dashboard["panels"][number]

/** Grafana's width in columns. */
const columns = 24

/** Units that the dashboards use; Grafana names all of them in packages/grafana-data/src/valueFormats. */
const units = ["none", "short", "s", "bytes", "Bps", "pps", "ops", "reqps", "percentunit"]

/** The oldest layout of dashboards in use, of Grafana 11; newer ones read it. */
const schemaVersion = 39

const overlap = (a: Panel["gridPos"], b: Panel["gridPos"]): boolean =>
  a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h

const shown = (panels: ReadonlyArray<Panel>): ReadonlyArray<Panel> => panels.filter(({ type }) => type !== "row")

test("there are dashboards for overview, peers, routing, splits and QUIC, each under an id that stays", () => {
  expect(all.map(([file]) => file)).toEqual(
    ["overview", "peers", "quic", "routing", "splits"].map((name) => `weft-${name}.json`)
  )
  for (const [file, { id, schemaVersion: version, uid }] of all) {
    expect({ file, id, version }).toEqual({ file: `${uid}.json`, id: null, version: schemaVersion })
  }
})

test("every panel takes its data source from the variable, so that no dashboard is bound to one Grafana", async () => {
  for (const [file, { panels, templating }] of all) {
    expect(templating.list[0]).toMatchObject({ name: "datasource", type: "datasource" })
    expect(await textOf(`grafana/dashboards/${file}`)).not.toContain("weft-prometheus")
    for (const { datasource } of shown(panels)) {
      expect(datasource?.type).toBe("prometheus")
      expect(datasource?.uid).toMatch(/^\$\{datasource\}$/)
    }
  }
})

test("panels have ids of their own and places of their own", () => {
  for (const [, { panels }] of all) {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length)
    for (const [index, { gridPos, title }] of panels.entries()) {
      expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(columns)
      expect(
        panels
          .slice(index + 1)
          .filter((other) => overlap(gridPos, other.gridPos))
          .map((other) => `${title} | ${other.title}`)
      ).toEqual([])
    }
  }
})

test("every panel says what it shows, in which unit, and from which value on it is bad", () => {
  for (const [file, { panels }] of all) {
    expect(panels[0]?.type).toBe("row")
    for (const { description = "", fieldConfig, targets, title, type } of shown(panels)) {
      const where = `${file}: ${title}`
      expect({ where, is: description.endsWith(".") && description.length > 15 }).toEqual({ where, is: true })
      expect({ where, unit: units.includes(fieldConfig?.defaults.unit ?? "") }).toEqual({ where, unit: true })
      const steps = (fieldConfig?.defaults.thresholds.steps ?? []).map(({ value }) => value)
      expect({ where, first: steps[0] }).toEqual({ where, first: null })
      expect(steps.slice(1)).toEqual(steps.slice(1).toSorted((a, b) => Number(a) - Number(b)))
      expect({ where, targets: targets.length > 0 }).toEqual({ where, targets: true })
      expect(new Set(targets.map(({ refId }) => refId)).size).toBe(targets.length)
      if (type === "timeseries")
        for (const { legendFormat } of targets) expect({ where, legendFormat }).not.toEqual({ where, legendFormat: "" })
    }
  }
})

test("variables that queries use are there", () => {
  for (const [file, { panels, templating }] of all) {
    const names = ["__rate_interval", ...templating.list.map(({ name }) => name)]
    const used = [...JSON.stringify([panels, templating]).matchAll(/\$(\w+)/g)].map(([, name]) => name)
    expect({ file, missing: used.filter((name) => !names.includes(name ?? "")) }).toEqual({ file, missing: [] })
  }
})

const Provider = Schema.Struct({
  providers: Schema.NonEmptyArray(Schema.Struct({ options: Schema.Struct({ path: Schema.String }) }))
})

test("Grafana is told of the folder in which compose.yaml lays the dashboards", async () => {
  const { providers } = Schema.decodeUnknownSync(Provider)(
    YAML.parse(await textOf("grafana/provisioning/dashboards/weft.yml"))
  )
  expect(await textOf("containers/compose.yaml")).toContain(`../grafana/dashboards:${providers[0].options.path}:ro`)
  expect(await textOf("grafana/provisioning/datasources/weft.yml")).toContain("url: http://127.0.0.1:9090\n")
  expect(await textOf("containers/compose.yaml")).toContain("--web.listen-address=127.0.0.1:9090\n")
})
