/** A real Prometheus scrapes an entry and its peer: what dashboards and rules ask for is there, by those names. */
import { expect } from "bun:test"
import { Effect, Schedule } from "effect"
import { endToken } from "../../engine/asking.ts"
import { it } from "../../support/effect.ts"
import { startEntry, startPeer } from "../../support/processes.ts"
import { type Prometheus, startPrometheus } from "./prometheus.ts"
import { labelsOf, metricsOf, queries } from "./queries.ts"

/** Two programs, a model and Prometheus start, and rules need two scrapes; a busy machine takes its time. */
const timeoutMs = 120_000

/**
 * Metrics that a demo may describe without having series of them: it splits no model, and ends before peers measure
 * themselves.
 */
const mayHaveNoSeries: ReadonlyArray<string> = [
  "weft_model_efficiency_ratio",
  "weft_model_native_tokens_per_second",
  "weft_split_bytes_total",
  "weft_split_failures_total",
  "weft_split_frames_total",
  "weft_split_leases_ended_total"
]

/** More answers at once than the peer has slots, so that some wait. */
const crowd = 6

/** An answer that comes in more than one piece, so that there is time between tokens. */
const answer = (url: string) =>
  Effect.promise(async () => {
    const body = {
      model: "tiny-small-f16",
      messages: [{ role: "user", content: "What is 7 plus 5?" }],
      stream: true,
      logit_bias: { [endToken]: -100 },
      max_tokens: 128
    }
    const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", body: JSON.stringify(body) })
    expect(await response.text()).toContain("[DONE]")
  })

const hostOf = (url: unknown): string => new URL(String(url)).host

const soon = { times: 150, schedule: Schedule.spaced("200 millis") }

/** Waits until every metric has series that must, and returns those that have none. */
const missing = (prometheus: Prometheus, wanted: ReadonlyArray<string>) => {
  const needed = wanted.filter((name) => !mayHaveNoSeries.includes(name))
  const left = Effect.map(prometheus.names, (names) => needed.filter((name) => !names.includes(name)))
  return Effect.zipRight(Effect.repeat(left, { until: (names) => names.length === 0, ...soon }), left)
}

it.live(
  "every query of a dashboard or a rule asks for metrics and labels that the scrape has, and Prometheus takes it",
  () =>
    Effect.gen(function* () {
      const asked = yield* Effect.promise(queries)
      expect(asked.length).toBeGreaterThan(100)
      const { url } = yield* startEntry()
      const peer = yield* startPeer(url)
      yield* Effect.all(
        Array.from({ length: crowd }, () => answer(url)),
        { concurrency: "unbounded" }
      )
      const page = (yield* peer.event("listening"))["url"]
      const prometheus = yield* startPrometheus({ "127.0.0.1:8080": hostOf(url), "127.0.0.1:9464": hostOf(page) })
      // A rate needs a second value.
      yield* Effect.repeat(prometheus.query("weft_requests_total"), { until: (count) => count > 0, ...soon })
      yield* answer(url)
      const wanted = [...new Set(asked.flatMap(({ expr }) => metricsOf(expr)))]
      expect(yield* missing(prometheus, wanted)).toEqual([])
      const described = yield* prometheus.described
      expect(mayHaveNoSeries.filter((name) => !described.includes(name))).toEqual([])
      for (const { expr, where } of asked) {
        for (const [metric, label] of labelsOf(expr)) {
          const labels = yield* prometheus.labels(metric)
          if (labels.size > 0) expect({ where, label, is: labels.has(label) }).toEqual({ where, label, is: true })
        }
        yield* prometheus.query(expr)
      }
      expect(yield* prometheus.query("up == 1")).toBe(2)
      expect(yield* prometheus.query('ALERTS{alertstate="firing"}')).toBe(0)
    }),
  timeoutMs
)
