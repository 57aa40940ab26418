/** Asking other entries, real HTTP servers that tell the truth, lie, hang and flood. */
import { expect } from "bun:test"
import { fromSecret } from "@weft/entry/ApiKeys"
import { EntryConfig } from "@weft/entry/EntryConfig"
import { EntryDescription } from "@weft/entry/EntryDescription"
import * as Gossip from "@weft/entry/performance/Gossip"
import { Performance } from "@weft/entry/performance/Performance"
import * as State from "@weft/entry/performance/PerformanceState"
import * as SampleReport from "@weft/entry/performance/SampleReport"
import { fromPublicKey } from "@weft/mesh/PeerId"
import { Effect, Layer, Option, Redacted, Schedule } from "effect"
import { rise } from "../../mesh/links.ts"
import { it } from "../../support/effect.ts"
import { answering, description, hello, open, post, send } from "../support.ts"

const other = fromPublicKey(new Uint8Array(32).fill(9))
const served = { peer: answering, model: "plain", mode: "solo" } as const

const report = (samples: number, entry = other) => {
  const now = Date.now()
  const hour = Array.from({ length: samples }).reduce<State.Hour>(
    (hour) => State.record(hour, { ttftMs: 100, tokensPerSecond: 10 }, now),
    State.empty
  )
  return SampleReport.write(entry, [{ served, hour }], now)
}

/** Serves on a free port of loopback until the scope closes; returns its URL. */
const serve = (answer: (request: Request) => Response | Promise<Response>) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: answer })),
      (server) => Effect.promise(() => server.stop(true))
    ),
    ({ port }) => `http://127.0.0.1:${port}`
  )

/** Asks these entries once, and returns what is known when all but those that hang have been asked. */
const gossip = (entries: ReadonlyArray<string>, until: (samples: number | undefined) => boolean, token?: string) =>
  Effect.gen(function* () {
    const performance = yield* Performance
    const entriesToken = Option.map(Option.fromNullable(token), Redacted.make)
    yield* Layer.build(Gossip.layer.pipe(Layer.provide(EntryConfig.layer({ entries, entriesToken }))))
    return yield* Effect.sync(() => performance.of(served)?.samples).pipe(
      Effect.filterOrFail(until),
      Effect.retry({ times: 200, schedule: Schedule.spaced("20 millis") })
    )
  }).pipe(Effect.provide(Performance.layer), Effect.provideService(EntryDescription, description))

it.live("what others measured counts here, of each entry once, with liars, floods and the silent among them", () =>
  Effect.gen(function* () {
    const honest = yield* serve(() => new Response(report(3)))
    const second = yield* serve(() => new Response(report(4, fromPublicKey(new Uint8Array(32).fill(8)))))
    const itself = yield* serve(() => new Response(report(1_000, description.peerId)))
    const broken = yield* serve(() => new Response("{"))
    const refusing = yield* serve(() => new Response(report(1_000), { status: 401 }))
    const moved = yield* serve(() => Response.redirect(honest, 302))
    const flood = yield* serve(() => new Response(report(1_000) + " ".repeat(SampleReport.bytesMax)))
    const silent = yield* serve(() => new Promise<Response>(() => {}))
    const liars = [itself, broken, refusing, moved, flood]
    const refused = yield* rise(
      "weft_entry_reports_total",
      { result: "refused" },
      Effect.gen(function* () {
        expect(yield* gossip([honest, second, ...liars, silent], (samples) => samples === 7)).toBe(7)
        // all that answer have answered, and nothing more counts
        yield* Effect.sleep("300 millis")
      })
    )
    expect(refused).toBe(liars.length)
  })
)

it.live("the token goes to other entries, and nobody without it sees the samples", () =>
  Effect.gen(function* () {
    const door = yield* open({ config: { entriesToken: Option.some(Redacted.make("between-us")) } })
    yield* post(`${door.url}/v1/chat/completions`, hello)
    for (const headers of [{}, { authorization: "Bearer wrong" }, { authorization: "between-us" }]) {
      const refused = yield* send(`${door.url}/api/samples`, { headers })
      expect([refused.status, refused.json.error.code]).toEqual([401, "invalid_api_key"])
    }
    const shown = yield* send(`${door.url}/api/samples`, { headers: { authorization: "Bearer between-us" } })
    expect(shown.json).toMatchObject({ version: 1, entry: description.peerId, series: [served] })
    const seen: Array<string | null> = []
    const watching = yield* serve((request) => {
      seen.push(request.headers.get("authorization"))
      return new Response(report(2))
    })
    expect(yield* gossip([watching], (samples) => samples === 2, "between-us")).toBe(2)
    expect(seen).toEqual(["Bearer between-us"])
  })
)

it.live("without a token samples are shown on loopback, and on no other address", () =>
  Effect.gen(function* () {
    const near = yield* open()
    expect((yield* send(`${near.url}/api/samples`)).status).toBe(200)
    const far = yield* open({
      config: {
        httpHost: "0.0.0.0",
        apiKeys: [
          fromSecret("a", "a-long-secret", {
            requestsPerMinute: null,
            tokensPerMinute: null,
            region: null,
            trust: null
          })
        ]
      }
    })
    expect((yield* send(`http://127.0.0.1:${far.port}/api/samples`)).status).toBe(404)
  })
)
