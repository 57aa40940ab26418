/** A real Prometheus with the project's configuration and rules, on loopback, against programs of a test. */
import { FileSystem } from "@effect/platform"
import * as Command from "@effect/platform/Command"
import { BunContext } from "@effect/platform-bun"
import { Effect, Schedule, Schema, type Scope } from "effect"
import { directory } from "../../support/processes.ts"
import { infra, textOf } from "./queries.ts"

const Answer = Schema.parseJson(
  Schema.Union(
    Schema.Struct({ status: Schema.Literal("success"), data: Schema.Unknown }),
    Schema.Struct({ status: Schema.Literal("error"), error: Schema.String })
  )
)

const Names = Schema.Array(Schema.String)
const Described = Schema.Array(Schema.Struct({ metric: Schema.String, type: Schema.String }))
const Series = Schema.Array(Schema.Record({ key: Schema.String, value: Schema.String }))
const Instant = Schema.Struct({ result: Schema.Array(Schema.Unknown) })

/** Represents a running Prometheus, asked over its own API. */
export interface Prometheus {
  /** Names of metrics that have series, recorded ones included. */
  readonly names: Effect.Effect<ReadonlyArray<string>>
  /** Names of metrics that a target describes, whether they have series or not; of histograms also the parts. */
  readonly described: Effect.Effect<ReadonlyArray<string>>
  /** Labels of the series of a metric. */
  readonly labels: (metric: string) => Effect.Effect<ReadonlySet<string>>
  /** How many series or values a query gives; dies with Prometheus' words where it is none. */
  readonly query: (expr: string) => Effect.Effect<number>
}

/** A port that was free a moment ago: Prometheus cannot be asked which one the system chose. */
const freePort = Effect.sync(() => {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } })
  listener.stop(true)
  return listener.port
})

/** Four times a second, as a test should not wait for what comes every 15 s. */
const quickly = (config: string): string => config.replaceAll(/_interval: 15s/g, "_interval: 250ms")

const files = ["recording.yml", "alerts.yml"]

/** Starts Prometheus on the configuration of `infra/prometheus`, its targets exchanged; it is killed with the scope. */
export const startPrometheus = (
  targets: Readonly<Record<string, string>>
): Effect.Effect<Prometheus, never, Scope.Scope> =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* directory
    const config = Object.entries(targets).reduce(
      (text, [written, real]) => text.replace(`"${written}"`, `"${real}"`),
      quickly(yield* Effect.promise(() => textOf("prometheus/prometheus.yml")))
    )
    yield* fs.writeFileString(`${folder}/prometheus.yml`, config)
    yield* Effect.forEach(files, (file) => fs.copyFile(`${infra}prometheus/${file}`, `${folder}/${file}`))
    const port = yield* freePort
    yield* Command.make(
      "prometheus",
      `--config.file=${folder}/prometheus.yml`,
      `--storage.tsdb.path=${folder}/data`,
      `--web.listen-address=127.0.0.1:${port}`,
      "--log.level=error"
    ).pipe(Command.stdout("inherit"), Command.stderr("inherit"), Command.start)
    const ask = <A, I>(path: string, schema: Schema.Schema<A, I>) =>
      Effect.gen(function* () {
        const text = yield* Effect.tryPromise(async () =>
          (await fetch(`http://127.0.0.1:${port}/api/v1/${path}`)).text()
        )
        const answer = yield* Schema.decodeUnknown(Answer)(text)
        if (answer.status === "error") return yield* Effect.dieMessage(answer.error)
        return yield* Schema.decodeUnknown(schema)(answer.data)
      })
    yield* Effect.retry(ask("status/buildinfo", Schema.Unknown), {
      times: 300,
      schedule: Schedule.spaced("100 millis")
    })
    return {
      names: Effect.orDie(ask("label/__name__/values", Names)),
      described: Effect.orDie(
        Effect.map(ask("targets/metadata", Described), (all) =>
          all.flatMap(({ metric, type }) =>
            type === "histogram" ? ["_bucket", "_count", "_sum"].map((part) => metric + part) : [metric]
          )
        )
      ),
      labels: (metric) =>
        Effect.orDie(
          Effect.map(
            ask(`series?match[]=${encodeURIComponent(metric)}`, Series),
            (series) => new Set(series.flatMap((labels) => Object.keys(labels)))
          )
        ),
      query: (expr) =>
        Effect.orDie(Effect.map(ask(`query?query=${encodeURIComponent(expr)}`, Instant), ({ result }) => result.length))
    } satisfies Prometheus
  }).pipe(Effect.orDie, Effect.provide(BunContext.layer))
