/** The status of a running entry: made once a second however many ask, and kept through a restart. */
import { expect } from "bun:test"
import { BunContext } from "@effect/platform-bun"
import * as Database from "@weft/entry/Database"
import { EntryConfig } from "@weft/entry/EntryConfig"
import { EntryDescription } from "@weft/entry/EntryDescription"
import { Elections } from "@weft/entry/election/Elections"
import { Links } from "@weft/entry/Links"
import { Performance } from "@weft/entry/performance/Performance"
import { Share } from "@weft/entry/share/Share"
import { hourMs } from "@weft/entry/share/ShareState"
import { Status } from "@weft/entry/status/Status"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import { Effect, Layer, TestClock } from "effect"
import { register } from "prom-client"
import { it } from "../../support/effect.ts"
import { description, folder } from "../support.ts"
import { model, native, peer, peerId } from "./busyMesh.ts"

/** Runs one life of an entry on a database. */
const life = <A, E>(
  path: string,
  body: Effect.Effect<A, E, Status | Performance | PeerDirectoryActor | Share>
): Effect.Effect<A, unknown> => {
  const layers = Status.layer.pipe(
    Layer.provideMerge(Layer.mergeAll(Links.layer, Performance.layer, Share.layer, PeerDirectoryActor.layer())),
    Layer.provide(Layer.succeed(Elections, { ask: () => Effect.succeed(null), unsafeSnapshot: () => new Map() })),
    Layer.provide(Database.layer),
    Layer.provide(Layer.succeed(EntryDescription, description)),
    Layer.provide([EntryConfig.layer({ databasePath: path }), BunContext.layer])
  )
  return Effect.provide(body, layers)
}

const join = Effect.gen(function* () {
  const { ref } = yield* PeerDirectoryActor
  yield* ref.Register({ info: peer(1, "ada", [model("m", { native: native(40) })]).info, link: 1 })
})

const answer = Effect.map(Performance, ({ record }) =>
  record({ peer: peerId(1), model: "m", mode: "solo" }, { ttftMs: 200, tokensPerSecond: 36 })
)

const document = Effect.flatMap(Status, ({ told }) => Effect.map(told, (one) => one.document))

it.effect("a document is at most a second old, and made no sooner", () =>
  Effect.gen(function* () {
    yield* life(
      `${yield* folder}/entry.sqlite`,
      Effect.gen(function* () {
        expect((yield* document).peers.total).toBe(0)
        yield* join
        expect((yield* document).peers.total).toBe(0)
        yield* TestClock.adjust("1 second")
        const later = yield* document
        expect(later.peers.total).toBe(1)
        expect(later.models[0]).toMatchObject({ id: "m", mode: "solo", tier: "experimental", through: null })
        expect(later.entry.uptimeSeconds).toBe(1)
      })
    )
  })
)

it.effect("what answers measured is shown against the native figures, scraped, and kept through a restart", () =>
  Effect.gen(function* () {
    const path = `${yield* folder}/entry.sqlite`
    yield* TestClock.setTime(1_000 * hourMs + 5_000)
    yield* life(
      path,
      Effect.gen(function* () {
        yield* join
        yield* answer
        const { record } = yield* Share
        record({ model: "m", servedBy: "mesh", tokens: 20 })
        yield* TestClock.adjust("1 second")
        const atOnce = yield* Effect.promise(() => register.metrics())
        expect(atOnce).toContain('weft_model_samples{model="m",mode="solo"} 1')
        yield* TestClock.adjust("19 seconds")
        const now = yield* document
        const [one] = now.models
        expect(one?.through?.tokensPerSecond?.p50).toBeCloseTo(36, -0.5)
        expect(one?.efficiency.grade).toBe("green")
        expect(one?.firstServedAt).toEqual({ meshMs: 1_000 * hourMs + 10_000, splitMs: null })
        expect(now.share.day).toMatchObject({ mesh: 1, meshSharePct: 100 })
        expect(now.history.models[0]?.mesh.at(-1)).toBe(1)
        const scraped = yield* Effect.promise(() => register.metrics())
        expect(scraped).toContain('weft_model_native_tokens_per_second{model="m"} 40')
        expect(scraped).toMatch(/weft_model_efficiency_ratio\{model="m"\} 0\.[89]/)
        expect(scraped).toContain('weft_model_ttft_seconds{model="m",mode="solo",quantile="0.95"} 0.')
        expect(scraped).toMatch(/weft_model_samples\{model="m",mode="solo"\} [1-9]/)
        // within the last seconds, which only the end of the layer writes
        yield* Effect.replicateEffect(answer, 2)
      })
    )
    yield* TestClock.adjust("2 hours")
    yield* life(
      path,
      Effect.gen(function* () {
        yield* join
        yield* TestClock.adjust("1 second")
        const now = yield* document
        expect(now.models[0]?.through).toBeNull()
        expect(now.models[0]?.firstServedAt.meshMs).toBe(1_000 * hourMs + 10_000)
        const [kept] = now.history.models
        expect(kept?.tokensPerSecond.at(-3)).toBeCloseTo(36, -0.5)
        expect(kept?.tokensPerSecond.slice(-2)).toEqual([null, null])
        const week = yield* Effect.flatMap(Status, ({ history }) => history(168))
        expect(week.models[0]?.ttftMs.at(-3)).toBeCloseTo(200, -1)
      })
    )
  })
)

it.effect("the last answers of an hour are kept in it, also when the hour is over before they are written", () =>
  Effect.gen(function* () {
    yield* TestClock.setTime(1_000 * hourMs - 1_000)
    yield* life(
      `${yield* folder}/entry.sqlite`,
      Effect.gen(function* () {
        yield* join
        yield* answer
        yield* TestClock.adjust("11 seconds")
        const [kept] = (yield* document).history.models
        expect(kept?.tokensPerSecond.slice(-2)).toEqual([expect.any(Number), null])
      })
    )
  })
)
