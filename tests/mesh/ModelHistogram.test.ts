/** What was kept until a scrape is counted as if it had been observed at once. */
import { expect, test } from "bun:test"
import { ModelHistogram } from "@weft/mesh/ModelHistogram"
import { FastCheck } from "effect"
import { Histogram, register } from "prom-client"

const buckets = [0.1, 1, 10]

test("values of several models, however many, are counted once each and whenever somebody scrapes", () =>
  FastCheck.assert(
    FastCheck.asyncProperty(
      FastCheck.array(FastCheck.tuple(FastCheck.constantFrom("a", "b"), FastCheck.nat({ max: 20 })), {
        maxLength: 3000,
        size: "max"
      }),
      FastCheck.nat(3000),
      async (observed, scrapeAt) => {
        const kept = new ModelHistogram({ name: "kept_seconds", help: "kept", buckets })
        const plain = new Histogram({ name: "plain_seconds", help: "plain", labelNames: ["model"], buckets })
        for (const [at, [model, value]] of observed.entries()) {
          kept.observe(model, value)
          plain.observe({ model }, value)
          if (at === scrapeAt) await register.metrics()
        }
        const expected = (await register.getSingleMetricAsString("plain_seconds")).replaceAll("plain", "kept")
        expect((await register.getSingleMetricAsString("kept_seconds")).split("\n").toSorted()).toEqual(
          expected.split("\n").toSorted()
        )
        register.removeSingleMetric("kept_seconds")
        register.removeSingleMetric("plain_seconds")
      }
    ),
    { numRuns: 30 }
  ))
