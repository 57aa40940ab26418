/** The reader of queries against queries whose metrics are known: a name that it misses would be checked nowhere. */
import { expect, test } from "bun:test"
import { labelsOf, metricsOf } from "./queries.ts"

const known: ReadonlyArray<readonly [expr: string, metrics: ReadonlyArray<string>]> = [
  ["up", ["up"]],
  ['sum by (a, b) (rate(weft_x_total{code=~"5..", le="c{d}"}[5m])) > 0', ["weft_x_total"]],
  ["histogram_quantile(0.95, sum by (le) (rate(weft_x_bucket[10s])))", ["weft_x_bucket"]],
  ["model:weft_x:rate5m / (model:weft_y:rate5m > 1e3) or vector(0)", ["model:weft_x:rate5m", "model:weft_y:rate5m"]],
  ["a == 0 and on (instance, model) sum by (instance) (increase(b[30m])) > 0", ["a", "b"]],
  ["-sum(a) - 0 * sum(a) unless ignoring (x) group_left (y) b offset 5m", ["a", "b"]]
]

test("the metrics of a query are its names that are no function, label or word", () => {
  for (const [expr, metrics] of known) expect(metricsOf(expr).filter((name) => !/^\d/.test(name))).toEqual([...metrics])
})

test("the labels of a query stand before an operator inside braces", () => {
  expect(labelsOf('sum(rate(a{x="y=z", le!~"{w=1}"}[5m])) / b{c!="d"}')).toEqual([
    ["a", "x"],
    ["a", "le"],
    ["b", "c"]
  ])
})
