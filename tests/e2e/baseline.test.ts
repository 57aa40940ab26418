/** A real peer measures itself half a minute after it is ready, and its owner, Prometheus and the entry are told. */
import { expect } from "bun:test"
import { Effect, Schedule } from "effect"
import { it } from "../support/effect.ts"
import { directory, run, startEntry, startPeer } from "../support/processes.ts"

const text = (url: string) => Effect.promise(async () => (await fetch(url)).text())
/** Asks until the answer is as it should be; a minute and a half at most. */
const eventually = (ask: Effect.Effect<string>, isSo: (told: string) => boolean) =>
  Effect.retry(Effect.filterOrFail(ask, isSo), { times: 180, schedule: Schedule.spaced("500 millis") })

it.live(
  "what a peer measured of itself is in its status, its metrics and the entry's status, and outlives it",
  () =>
    Effect.gen(function* () {
      const { url } = yield* startEntry()
      const dataDirectory = yield* directory
      const measured = yield* Effect.scoped(
        Effect.gen(function* () {
          const peer = yield* startPeer(url, { dataDirectory })
          const page = String((yield* peer.event("listening"))["url"])
          const known = eventually(text(`${url}/api/status`), (status) => status.includes('"native":{'))
          expect(yield* known).toMatch(/"native":\{"ttftMs":[\d.]+,"tokensPerSecond":[\d.]+,"runs":[123]\}/)
          expect(yield* text(`${page}/metrics`)).toMatch(/weft_native_tokens_per_second\{model="tiny-small-f16"\} \d/)
          expect(yield* text(`${page}/metrics`)).toMatch(/weft_native_ttft_seconds\{model="tiny-small-f16"\} \d/)
          const status = yield* run(["run", "apps/peer/src/main.ts", "status", "--data-dir", dataDirectory])
          expect(status.stdout).toMatch(/[\d.]+ tok\/s, \d+ ms \([123] runs\)/)
          const said = JSON.parse(yield* text(`${page}/status`))
          yield* Effect.promise(async () => {
            const models = await (await fetch(`${url}/v1/models`)).text()
            expect(models).not.toContain("native")
          })
          return said.models[0].native
        })
      )
      // the next life of the peer knows it when it registers
      const peer = yield* startPeer(url, { dataDirectory })
      const page = String((yield* peer.event("listening"))["url"])
      const again = yield* eventually(text(`${page}/status`), (status) => status.includes('"native"'))
      expect(JSON.parse(again)).toMatchObject({ models: [{ native: measured }] })
      const silent = yield* startPeer(url, { args: ["--no-baseline"] })
      expect(yield* text(`${String((yield* silent.event("listening"))["url"])}/status`)).not.toContain("native")
    }),
  120_000
)
