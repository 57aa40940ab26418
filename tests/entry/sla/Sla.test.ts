/** The gate over a real directory and what was measured: whose figures count, how old a verdict is, who goes where. */
import { expect } from "bun:test"
import { EntryConfig } from "@weft/entry/EntryConfig"
import { Fallback } from "@weft/entry/fallback/Fallback"
import { Performance } from "@weft/entry/performance/Performance"
import { Sla } from "@weft/entry/sla/Sla"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import type { PeerId } from "@weft/mesh/PeerId"
import { Effect, Layer, Option, Redacted, TestClock } from "effect"
import { peerId, peerInfo } from "../../mesh/peers.ts"
import { it } from "../../support/effect.ts"
import { open, send } from "../support.ts"

const [one, other] = [peerId(1), peerId(2)]
const model = "quick-8b"

const provider = {
  url: "http://127.0.0.1:1/v1",
  key: Redacted.make("k"),
  models: new Map<string, string>(),
  hasAllModels: true,
  tiers: new Set(["daily-driver"] as const),
  perAddressHour: 100
}

const entry = <A, E>(body: Effect.Effect<A, E, Fallback | Performance | PeerDirectoryActor | Sla>) =>
  Effect.provide(
    body,
    Layer.merge(Sla.layer, Fallback.layer).pipe(
      Layer.provideMerge(Performance.layer),
      Layer.provideMerge(PeerDirectoryActor.layer()),
      Layer.provide(EntryConfig.layer({ fallback: Option.some(provider) }))
    )
  )

const register = (id: PeerId, changes: { readonly stages?: ReadonlyArray<PeerId> } = {}) =>
  Effect.flatMap(PeerDirectoryActor, ({ ref }) => {
    const info = peerInfo(id, [model])
    const stages = changes.stages?.map((peer, at) => ({ peer, from: at, to: at + 1 }))
    const models = stages === undefined ? info.models : info.models.map((served) => ({ ...served, stages }))
    return ref.Register({ info: { ...info, models }, link: 1 })
  })

const measure = (peer: PeerId, ttftMs: number, tokensPerSecond: number, mode: "solo" | "split" = "solo") =>
  Effect.map(Performance, ({ record }) => record({ peer, model, mode }, { ttftMs, tokensPerSecond }))

const said = Effect.map(Sla, ({ verdict }) => verdict(model))

it.effect("a peer that comes is noticed at once; what it shows, and that it left, within a second", () =>
  entry(
    Effect.gen(function* () {
      expect(yield* said).toMatchObject({ status: "no-peer-with-model", candidates: 0, tier: "daily-driver" })
      yield* register(one)
      expect(yield* said).toMatchObject({ status: "no-measurements", candidates: 1, best: undefined })
      yield* measure(one, 200, 30)
      expect((yield* said).status).toBe("no-measurements")
      yield* TestClock.adjust("1 second")
      const met = yield* said
      expect(met.status).toBe("meets-sla")
      expect(met.best?.ttftMs).toBeWithin(195, 205)
      expect(met.headers["x-weft-sla-best-tps"]).toMatch(/^(29|30)\.\d$/)
      yield* (yield* PeerDirectoryActor).ref.Leave({ peer: one, link: 1 })
      yield* TestClock.adjust("1 second")
      expect((yield* said).status).toBe("no-peer-with-model")
    })
  )
)

it.effect("figures count of peers that serve the model now, in the mode they serve it in", () =>
  entry(
    Effect.gen(function* () {
      yield* register(one, { stages: [one, other] })
      yield* measure(one, 100, 50)
      yield* measure(other, 100, 50)
      expect((yield* said).status).toBe("no-measurements")
      yield* measure(one, 9_000, 2, "split")
      yield* TestClock.adjust("1 second")
      expect((yield* said).status).toBe("both-too-low")
      yield* register(other)
      yield* TestClock.adjust("1 second")
      expect(yield* said).toMatchObject({ status: "meets-sla", candidates: 2 })
    })
  )
)

it.effect("a model that misses is tried on the mesh once a minute, so that it can come back", () =>
  entry(
    Effect.gen(function* () {
      yield* register(one)
      yield* measure(one, 9_000, 1)
      const { choose } = yield* Fallback
      const question = { model, isPortable: true, client: () => "a" }
      const ask = Effect.map(said, (verdict) => choose(verdict, question))
      expect(yield* ask).toMatchObject({ _tag: "Provider" })
      yield* TestClock.adjust("60 seconds")
      expect(yield* ask).toEqual({ _tag: "Mesh", status: "trial" })
      expect(yield* ask).toMatchObject({ _tag: "Provider" })
      yield* measure(one, 100, 20)
      yield* measure(one, 100, 20)
      yield* TestClock.adjust("60 seconds")
      expect(yield* ask).toEqual({ _tag: "Mesh", status: "not-needed" })
      // a model without a peer has nobody to be tried on
      yield* (yield* PeerDirectoryActor).ref.Leave({ peer: one, link: 1 })
      for (let minute = 0; minute < 3; minute++) {
        yield* TestClock.adjust("60 seconds")
        expect(yield* ask).toMatchObject({ _tag: "Provider" })
      }
    })
  )
)

it.live("the model a chat begins with is told at its own address", () =>
  Effect.gen(function* () {
    const tiers = [{ tier: "daily-driver", patterns: ["plain"] }] as const
    const door = yield* open({ config: { tiers }, measured: () => [undefined] })
    const { json, status } = yield* send(`${door.url}/api/models/default`)
    expect([status, json]).toEqual([
      200,
      { object: "default_model", id: "plain", tier: "daily-driver", status: "no-measurements" }
    ])
    const empty = yield* open({ measured: () => [] })
    expect((yield* send(`${empty.url}/api/models/default`)).json).toMatchObject({ id: null, tier: null })
  })
)
