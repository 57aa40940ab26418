/** A real entry that is told what is not so, by other entries, peers and clocks: nothing of it counts, nor twice. */
import { expect } from "bun:test"
import { GenerateEvent } from "@weft/engine/Generation"
import * as State from "@weft/entry/performance/PerformanceState"
import { concat } from "@weft/mesh/FrameBuffer"
import * as Frames from "@weft/mesh/Frames"
import * as Link from "@weft/mesh/Link"
import { fromPublicKey, type PeerId } from "@weft/mesh/PeerId"
import * as Sketch from "@weft/mesh/Sketch"
import { Effect, Exit, Fiber, Schedule } from "effect"
import { delta, finished, saying as says, started } from "../engine/scripted.ts"
import { it } from "../support/effect.ts"
import { directory, startEntry, startPeer } from "../support/processes.ts"
import { metric } from "./rings.ts"
import { type Act, ask, type Entry, endpoint, figure, metrics, register, saying } from "./strangers.ts"

const model = "tiny-small-f16"

interface Shown {
  readonly models: ReadonlyArray<{
    readonly id: string
    readonly peerCount: number
    readonly through: null | {
      readonly samples: number
      readonly ttftMs: { readonly p50: number; readonly p95: number }
      readonly tokensPerSecond: null | { readonly p50: number; readonly p95: number }
    }
  }>
  readonly share: { readonly day: Readonly<Record<"requests" | "mesh" | "fallback" | "refused", number>> }
}

const shown = ({ url }: Pick<Entry, "url">) =>
  Effect.promise(async () => (await (await fetch(`${url}/api/status`)).json()) as Shown)
const rowOf = (entry: Pick<Entry, "url">, id: string) =>
  Effect.map(shown(entry), ({ models }) => models.find((row) => row.id === id))

/** Looks every 50 ms until `holds`, for 15 s at most. */
const until = <A, E>(look: Effect.Effect<A, E>, holds: (value: A) => boolean) =>
  look.pipe(
    Effect.filterOrFail(holds, (value) => new Error(`still ${JSON.stringify(value)}`)),
    Effect.retry({ times: 300, schedule: Schedule.spaced("50 millis") })
  )

/** Returns what the day counts once so many requests are in it: the document is up to a second old. */
const countedOf = (entry: Pick<Entry, "url">, requests: number) =>
  Effect.map(
    until(shown(entry), ({ share }) => share.day.requests >= requests),
    ({ share }) => share.day
  )

const isOne = (text: string): boolean => JSON.parse(text).choices[0].message.content.includes("7 plus 5 is 12.")

const binOf = (value: number): number => Sketch.add(Sketch.empty, value)[0]?.[0] ?? Number.NaN
const entryOf = (index: number): PeerId => fromPublicKey(new Uint8Array(32).fill(index))

/** Another entry's report of one peer, with these changes of its clock and of its steps. */
const report = (
  entry: number,
  peer: PeerId,
  changes: { readonly clockMs?: number; readonly steps?: number; readonly series?: number } = {},
  bins: { readonly ttftMs?: unknown; readonly tokensPerSecond?: unknown } = {}
) => {
  const nowMs = Date.now() + (changes.clockMs ?? 0)
  const step = Math.floor(nowMs / State.stepMs) + (changes.steps ?? 0)
  const steps = [{ step, ttftMs: [[binOf(100), 3]], tokensPerSecond: [[binOf(20), 3]], ...bins }]
  const series = Array.from({ length: changes.series ?? 1 }, () => ({ peer, model, mode: "solo", steps }))
  return JSON.stringify({ version: 1, entry: entryOf(entry), nowMs, series })
}

it.live(
  "of what other entries tell, the absurd, the stale and what another clock wrote does not count",
  () =>
    Effect.gen(function* () {
      const self = yield* endpoint
      const peer = self.identity.id
      const day = 86_400_000
      const refused: ReadonlyArray<string> = [
        report(11, peer, {}, { ttftMs: [[binOf(100), -3]] }),
        report(12, peer, {}, { tokensPerSecond: [[binOf(953_000), 3]] }),
        report(13, peer, {}, { ttftMs: [[binOf(100), 1e300]] }),
        report(14, peer, {}, { ttftMs: [[binOf(100), 1e9]] }),
        report(15, peer, { series: 5_000 }),
        report(16, peer, { clockMs: -day }),
        report(17, peer, { clockMs: 11 * 60_000 }),
        report(18, peer).replace('"nowMs":', '"nowMs":-'),
        report(19, peer).replace(entryOf(19), "nobody")
      ]
      // Their clocks are right, and their steps are of another hour, even if one of 5 minutes ends meanwhile: up to 10
      // minutes ahead it may be another clock's.
      const ignored = [report(21, peer, { steps: -13 }), report(22, peer, { steps: 4 })]
      const honest = [report(31, peer)]
      const reports = [...refused, ...ignored, ...honest]
      const others = yield* Effect.forEach(reports, (_, index) =>
        Effect.acquireRelease(
          Effect.sync(() => Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response(reports[index]) })),
          (server) => Effect.promise(() => server.stop(true))
        )
      )
      const entry = yield* startEntry({
        WEFT_ENTRIES: others.map(({ port }) => `http://127.0.0.1:${port}`).join(","),
        WEFT_ENTRIES_TOKEN: "between-us"
      })
      yield* register(entry, model, yield* saying(says([started, delta("twelve"), finished(1)])), { self })
      const counted = (result: string) =>
        Effect.map(metrics(entry), (text) =>
          figure(text, new RegExp(`weft_entry_reports_total\\{result="${result}"\\} (\\d+)`))
        )
      yield* until(Effect.zip(counted("refused"), counted("taken")), ([no, yes]) => no + yes >= reports.length)
      expect([yield* counted("refused"), yield* counted("taken")]).toEqual([refused.length, 3])
      expect((yield* ask(entry, model)).status).toBe(200)
      const row = yield* until(rowOf(entry, model), (one) => one?.through?.samples === 4)
      expect(row?.through?.tokensPerSecond?.p50).toBeWithin(19, 21)
      expect(row?.through?.ttftMs.p95).toBeLessThan(1_000)
    }),
  60_000
)

const completionTokens = (model: string): RegExp =>
  new RegExp(`weft_tokens_total\\{[^}]*model="${model}"[^}]*kind="completion"[^}]*\\} (\\d+)`)

const encode = Frames.encode(GenerateEvent)
const atOnce =
  (...events: ReadonlyArray<GenerateEvent>): Act =>
  (stream) =>
    Effect.zipRight(stream.write(concat(events.map((event) => encode(event)))), Effect.never)
const usage = (promptTokens: number, completionTokens: number) =>
  ({
    _tag: "Finished",
    finishReason: "stop",
    usage: { promptTokens, completionTokens, cachedTokens: 0 }
  }) as const

it.live(
  "a peer that sends all at once is measured without an absurd rate, and one that counts what was not is not believed",
  () =>
    Effect.gen(function* () {
      const entry = yield* startEntry()
      const texts = Array.from({ length: 20 }, (_, index) => delta(`${index} `, index))
      yield* register(entry, "at-once", atOnce(started, ...texts, finished(20)))
      yield* register(entry, "boasting", atOnce(started, delta("a"), usage(1, 1_000_000)))
      const { status, text } = yield* ask(entry, "at-once")
      expect([status, JSON.parse(text).usage.completion_tokens]).toEqual([200, 20])
      const row = yield* until(rowOf(entry, "at-once"), (one) => one?.through?.samples === 1)
      expect(row?.through?.tokensPerSecond).toBe(null)
      expect((yield* ask(entry, "boasting")).status).toBe(502)
      expect((yield* rowOf(entry, "boasting"))?.through ?? null).toBe(null)
      // what came is counted, of as many tries as there may be, and not what it says of it
      expect(figure(yield* metrics(entry), completionTokens("boasting"))).toBeLessThan(4)
    }),
  60_000
)

it.live("an announcement of another clock is refused and says so, a stale one cannot be repeated, others serve", () =>
  Effect.gen(function* () {
    const entry = yield* startEntry()
    yield* startPeer(entry.url)
    const act: Act = () => Effect.never
    const hour = 3_600_000
    for (const skewMs of [-hour, hour]) {
      const now = Date.now() + skewMs
      const announcement = { issuedAtMs: now, expiresAtMs: now + 60_000, sequence: now }
      const error = yield* Effect.flip(register(entry, "skewed", act, { announcement }))
      expect(String(error)).toContain("clocks")
    }
    const { repeat } = yield* register(entry, "current", act)
    expect(String(yield* Effect.flip(repeat))).toContain("number")
    const { models } = yield* shown(entry)
    expect(models.map(({ id }) => id).toSorted()).toEqual(["current", model])
    const { status, text } = yield* ask(entry, model)
    expect([status, isOne(text)]).toEqual([200, true])
  })
)

/** Goes on with an answer where another peer left it, a word every 20 ms. */
const going = (count: number) =>
  saying(({ offer }, { resume }) => {
    const from = resume?.tokens.length ?? 0
    const rest = Array.from({ length: count - from }, (_, index) => delta(`${from + index} `, from + index))
    return Effect.zipRight(
      offer(started),
      Effect.zipRight(
        Effect.forEach(rest, (event) => Effect.delay(offer(event), "20 millis")),
        offer(finished(count))
      )
    )
  })

it.live(
  "a peer that comes and goes every second costs nobody an answer, and nothing is counted twice",
  () =>
    Effect.gen(function* () {
      // in turn, so that the one that flaps is asked as well
      const entry = yield* startEntry({ WEFT_ROUTING: "round-robin" })
      yield* register(entry, "numbers", yield* going(20))
      const self = yield* endpoint
      const flapping = Effect.scoped(
        Effect.gen(function* () {
          const { link } = yield* register(entry, "numbers", yield* going(20), { self })
          yield* Effect.sleep("1 second")
          yield* link.session.close(Link.CloseCode.leaving, "again")
        })
      )
      const flaps = yield* Effect.fork(Effect.repeatN(flapping, 7))
      const whole = Array.from({ length: 20 }, (_, index) => `${index} `).join("")
      let asked = 0
      const one = Effect.gen(function* () {
        asked++
        const { status, text } = yield* ask(entry, "numbers")
        expect([status, JSON.parse(text).choices[0].message.content]).toEqual([200, whole])
        expect(JSON.parse(text).usage.completion_tokens).toBe(20)
      })
      const round = Effect.all([one, one, one, one], { concurrency: "unbounded" })
      yield* Effect.repeat(round, { until: () => flaps.unsafePoll() !== null })
      expect(Exit.isSuccess(yield* Fiber.await(flaps))).toBe(true)
      yield* until(rowOf(entry, "numbers"), (row) => row?.peerCount === 1)
      const day = yield* countedOf(entry, asked)
      expect(day).toMatchObject({ requests: asked, mesh: asked, fallback: 0, refused: 0 })
      expect(figure(yield* metrics(entry), completionTokens("numbers"))).toBe(20 * asked)
      expect(yield* metric(entry.url, "weft_route_failovers_total")).toBeGreaterThan(0)
    }),
  60_000
)

it.live(
  "two peers with one identity push each other off and are one in the directory, while another peer serves",
  () =>
    Effect.gen(function* () {
      const entry = yield* startEntry()
      const args = ["--threads", "1", "--context", "512", "--no-baseline"]
      yield* startPeer(entry.url, { args })
      const first = yield* startPeer(entry.url, { args })
      const dataDirectory = yield* directory
      const key = Bun.file(`${first.dataDirectory}/identity.pem`)
      yield* Effect.promise(() => Bun.write(`${dataDirectory}/identity.pem`, key, { mode: 0o600 }))
      const second = yield* startPeer(entry.url, { args, dataDirectory })
      expect(second.id).toBe(first.id)
      const peers: Array<number> = []
      for (let round = 0; round < 12; round++) {
        const answers = yield* Effect.all([ask(entry, model), ask(entry, model)], { concurrency: "unbounded" })
        for (const { status, text } of answers) expect([status, isOne(text)]).toEqual([200, true])
        peers.push((yield* rowOf(entry, model))?.peerCount ?? 0)
        yield* Effect.sleep("250 millis")
      }
      expect(Math.max(...peers)).toBe(2)
      expect(Math.min(...peers)).toBeGreaterThan(0)
      const day = yield* countedOf(entry, 24)
      expect(day).toMatchObject({ requests: 24, mesh: 24, refused: 0 })
    }),
  90_000
)
