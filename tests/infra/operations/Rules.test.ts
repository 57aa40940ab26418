/** Prometheus' own checker on configuration and rules, and what it cannot know: tests and a page for every alert. */
import { expect, test } from "bun:test"
import { YAML } from "bun"
import { Schema } from "effect"
import { infra, rulesOf, textOf } from "./queries.ts"

/** Prometheus reads some hundred lines in a second or two, on a machine that does other things in many. */
const timeoutMs = 60_000

const promtool = (...args: ReadonlyArray<string>): string => {
  const { exitCode, stderr, stdout } = Bun.spawnSync(["promtool", ...args], { cwd: `${infra}prometheus` })
  return exitCode === 0 ? "" : `${stdout}${stderr}`
}

const Tests = Schema.Struct({
  tests: Schema.Array(
    Schema.Struct({
      alert_rule_test: Schema.optionalWith(
        Schema.Array(Schema.Struct({ alertname: Schema.String, exp_alerts: Schema.Array(Schema.Unknown) })),
        { default: () => [] }
      ),
      promql_expr_test: Schema.optionalWith(Schema.Array(Schema.Struct({ expr: Schema.String })), { default: () => [] })
    })
  )
})
const tests = Schema.decodeUnknownSync(Tests)(YAML.parse(await textOf("prometheus/tests.yml"))).tests

test(
  "configuration and rules are what Prometheus takes",
  () => {
    expect(promtool("check", "config", "prometheus.yml")).toBe("")
    expect(promtool("check", "rules", "--lint-fatal", "recording.yml", "alerts.yml")).toBe("")
  },
  timeoutMs
)

test(
  "rules compute and alerts fire as their tests say",
  () => expect(promtool("test", "rules", "tests.yml")).toBe(""),
  timeoutMs
)

test("every alert has tests in which it fires and does not, every recorded figure has one", async () => {
  const all = tests.flatMap(({ alert_rule_test }) => alert_rule_test)
  const tested = (fires: boolean) =>
    [
      ...new Set(all.filter(({ exp_alerts }) => exp_alerts.length > 0 === fires).map(({ alertname }) => alertname))
    ].sort()
  const alerts = (await rulesOf("alerts.yml")).map(({ alert = "" }) => alert).sort()
  expect(tested(true)).toEqual(alerts)
  expect(tested(false)).toEqual(alerts)
  const asked = tests.flatMap(({ promql_expr_test }) => promql_expr_test.map(({ expr }) => expr)).join("\n")
  const recorded = (await rulesOf("recording.yml")).map(({ record = "" }) => record)
  // An error rate is half of the ratio that is tested.
  expect(recorded.filter((name) => !asked.includes(name))).toEqual(["model:weft_request_errors:rate5m"])
})

test("every alert says how bad it is, what it sees, and where the operator reads what to do", async () => {
  const page = await textOf("../docs/operations.md")
  for (const { alert = "", annotations = {}, labels = {} } of await rulesOf("alerts.yml")) {
    expect(["critical", "warning"]).toContain(labels["severity"] ?? "")
    expect(Object.keys(annotations).sort()).toEqual(["description", "runbook", "summary"])
    expect(annotations["runbook"]).toBe(`docs/operations.md#${alert.toLowerCase()}`)
    expect(page).toContain(`\n#### ${alert}\n`)
  }
  const written = [...page.matchAll(/^#### (Weft\w+)$/gm)].map(([, name]) => name)
  expect(written).toEqual((await rulesOf("alerts.yml")).map(({ alert }) => alert))
})
