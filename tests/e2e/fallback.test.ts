/** A real entry, a peer that is too slow for its tier, and a provider that hangs, fails and comes back. */
import { expect } from "bun:test"
import { Effect, Schedule } from "effect"
import { delta, finished, started } from "../engine/scripted.ts"
import { say, startProvider, streaming, usual } from "../entry/fallback/provider.ts"
import { it } from "../support/effect.ts"
import { startEntry } from "../support/processes.ts"
import { ask, figure, metrics, register, saying } from "./strangers.ts"

const model = "slow"

/** An entry with a provider, and a peer whose first text comes after more than the three seconds of its tier. */
const slowMesh = Effect.fnUntraced(function* (behaviour: Parameters<typeof startProvider>[0]) {
  const provider = yield* startProvider(behaviour)
  const entry = yield* startEntry({
    WEFT_TIERS: `daily-driver=${model}`,
    WEFT_FALLBACK_URL: provider.url,
    WEFT_FALLBACK_KEY: "provider-key",
    WEFT_FALLBACK_MODELS: "*",
    WEFT_FALLBACK_PER_IP_HOUR: "1000"
  })
  const late = yield* saying(({ offer }) =>
    Effect.delay(
      Effect.forEach([started, ...["one ", "two ", "three"].map((text) => delta(text)), finished(3)], offer),
      "3200 millis"
    )
  )
  yield* register(entry, model, late)
  const asked = Effect.gen(function* () {
    const startedMs = performance.now()
    const { headers, status, text } = yield* ask(entry, model)
    const content = status === 200 ? JSON.parse(text).choices[0].message.content : text
    return { status, told: headers.get("x-weft-fallback-status"), content, tookMs: performance.now() - startedMs }
  })
  return { entry, provider, asked, told: Effect.map(asked, ({ told }) => told) }
})

it.live(
  "who asks first waits for a provider that hangs, who comes later is answered by the mesh at once, until it is back",
  () =>
    Effect.gen(function* () {
      let hangs = true
      const behaviour = () => () => (hangs ? new Promise<Response>(() => {}) : streaming(usual))
      const { asked, entry, provider, told } = yield* slowMesh(behaviour)
      const first = yield* Effect.all([asked, asked, asked], { concurrency: "unbounded" })
      const answer = { status: 200, content: "one two three" }
      for (const one of first) {
        expect(one).toMatchObject({ ...answer, told: "failed" })
        expect(one.tookMs).toBeGreaterThan(10_000)
      }
      const later = yield* Effect.all([asked, asked, asked, asked], { concurrency: "unbounded" })
      for (const one of later) {
        expect(one).toMatchObject({ ...answer, told: "breaker-open" })
        expect(one.tookMs).toBeLessThan(10_000)
      }
      expect(provider.asked.length).toBe(3)
      const text = yield* metrics(entry)
      expect(figure(text, /weft_fallback_breaker_state\{state="open"\} (\d)/)).toBe(1)
      expect(figure(text, /weft_fallback_breaker_opened_total (\d+)/)).toBe(1)
      expect(yield* entry.printed).toContain("the provider is asked nothing for 5 s")

      hangs = false
      const back = yield* Effect.repeat(told, { until: (status) => status === "served", times: 20 })
      expect(back).toBe("served")
      expect(yield* Effect.all([told, told])).toEqual(["served", "served"])
      expect(figure(yield* metrics(entry), /weft_fallback_breaker_state\{state="closed"\} (\d)/)).toBe(1)
      yield* Effect.retry(
        Effect.filterOrFail(entry.printed, (lines) => lines.includes("the provider has recovered")),
        { times: 50, schedule: Schedule.spaced("20 millis") }
      )
      // The document may be a second old, and then not know of the last answers.
      const share = yield* Effect.retry(
        Effect.filterOrFail(
          Effect.promise(async () => (await (await fetch(`${entry.url}/api/status`)).json()).share.day),
          ({ fallback }) => fallback === 3
        ),
        { times: 50, schedule: Schedule.spaced("100 millis") }
      )
      expect(share.requests).toBe(share.mesh + share.fallback)
      expect(share.refused).toBe(0)
    }),
  90_000
)

it.live(
  "garbage, errors and a stream that breaks off cost an error that is clear or the mesh's answer, and count once",
  () =>
    Effect.gen(function* () {
      const breaksOff = Promise.withResolvers<string>()
      const wrongs = [
        () => streaming(["data: {\n\n"]),
        () => new Response("<html>", { headers: { "content-type": "text/html" } }),
        // read together, an error spoils the text before it
        () => streaming([usual[0], say("Hello "), breaksOff.promise])
      ]
      let at = 0
      const { asked, entry, told } = yield* slowMesh(() => () => (wrongs[at++] ?? (() => streaming(usual)))())
      expect(yield* asked).toMatchObject({ status: 200, told: "failed", content: "one two three" })
      expect(yield* asked).toMatchObject({ status: 200, told: "failed", content: "one two three" })
      const firstText = metrics(entry).pipe(
        Effect.filterOrFail((text) => figure(text, /weft_ttft_seconds_count\{model="slow"\} (\d+)/) === 3),
        Effect.retry({ times: 500, schedule: Schedule.spaced("20 millis") }),
        Effect.andThen(() => breaksOff.resolve(`data: {"error":"secret insides"}\n\n`))
      )
      const [broken] = yield* Effect.all([asked, firstText], { concurrency: "unbounded" })
      expect(broken).toMatchObject({ status: 502, told: "served" })
      expect(JSON.parse(broken.content).error).toMatchObject({ code: "fallback_failed", type: "server_error" })
      expect(broken.content).not.toContain("secret insides")
      expect(yield* told).toBe("breaker-open")
      const text = yield* metrics(entry)
      const results = [...text.matchAll(/weft_fallback_total\{result="([a-z-]+)"\} (\d+)/g)]
      expect(Object.fromEntries(results.flatMap(([, name, count]) => (count === "0" ? [] : [[name, count]])))).toEqual({
        failed: "2",
        broken: "1",
        "breaker-open": "1"
      })
    }),
  60_000
)
