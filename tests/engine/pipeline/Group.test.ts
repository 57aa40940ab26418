/**
 * Pipelines over peers: real QUIC on loopback, real stages in child processes. What they answer is what the whole model
 * answers in the exact profile, also while peers are lost, and nothing is left behind.
 */
import { describe, expect } from "bun:test"
import * as EngineSupervisor from "@weft/engine/EngineSupervisor"
import type { GenerateRequest } from "@weft/engine/Generation"
import type * as ModelFile from "@weft/engine/ModelFile"
import * as SplitMetrics from "@weft/engine/pipeline/SplitMetrics"
import { Effect, Fiber } from "effect"
import { it } from "../../support/effect.ts"
import { answer, gather, generate, ask as request } from "../asking.ts"
import { ask, type Peer, permit, prepare, startPeer, until } from "./peering.ts"
import { contextTokens, task } from "./staging.ts"

const asked = (promptTokens: number, seed: number, maxTokens = 40): GenerateRequest => {
  const { prompt, sampling } = task(promptTokens, seed)
  return request({ _tag: "Tokens", tokens: prompt }, { sampling: { ...sampling, seed }, maxTokens })
}

/** Returns the tokens that one host of the whole model answers. */
const solo = (whole: ModelFile.ModelFile, requests: ReadonlyArray<GenerateRequest>) =>
  Effect.scoped(
    Effect.flatMap(
      EngineSupervisor.make({ path: whole.path, modelId: "m", profile: "exact", contextTokens, threads: 1 }),
      (engine) => Effect.forEach(requests, (one) => Effect.map(answer(engine, one), ({ tokens }) => tokens))
    )
  )

/** Bytes that stages and hosts of this process sent to the stages behind them. */
const sentBytes = Effect.map(
  Effect.promise(() => SplitMetrics.bytes.get()),
  ({ values }) => values.find(({ labels }) => labels.way === "sent" && labels.to === "next")?.value ?? 0
)

const engineOf = (peer: Peer) => {
  const serving = peer.serving()
  if (serving === undefined) throw new Error("no pipeline serves")
  return serving[0]
}

describe("a pipeline of peers", () => {
  it.live(
    "answers as the whole model does, also on when a stage's peer vanishes amid answers and a spare takes over",
    () =>
      Effect.gen(function* () {
        const file = yield* prepare
        const requests = [asked(200, 1, 150), asked(30, 2, 150)]
        const wanted = yield* solo(file, requests)
        const entry = yield* startPeer(file)
        const [middle, tail, spare] = yield* Effect.all([startPeer(file), startPeer(file), startPeer(file)])
        // The others' edges are there before the host has an engine to take what comes over them.
        const areReady = () => [middle, tail].every(({ lender }) => lender.status()[0]?.state === "ready")
        const host = yield* startPeer(file, { gate: Effect.zipRight(until(areReady), Effect.sleep("50 millis")) })
        const wish = yield* ask(entry, [host, middle, tail], file, [1, 4], [spare])
        const served = yield* wish.until("Serving")
        expect(served.stages.map(({ from, peer, to }) => [peer, from, to])).toEqual([
          [host.place.peer, 0, 1],
          [middle.place.peer, 1, 4],
          [tail.place.peer, 4, 6]
        ])
        expect(host.serving()?.[1].stages?.map(({ peer }) => peer)).toEqual(
          [host, middle, tail].map((one) => one.place.peer)
        )
        yield* until(() => spare.lender.status().some(({ state }) => state === "ready"))
        const engine = engineOf(host)
        const answers = yield* Effect.fork(
          Effect.forEach(requests, (one) => answer(engine, one), { concurrency: "unbounded" })
        )
        const early = yield* generate(engine, asked(20, 3, 4))
        yield* gather(early)
        yield* middle.vanish
        const broken = yield* wish.until("Broken")
        expect(broken.peer).toBe(middle.place.peer)
        const healed = yield* wish.until("Serving")
        expect(healed.stages[1]).toMatchObject({ peer: spare.place.peer, from: 1, to: 4 })
        expect((yield* Fiber.join(answers)).map(({ tokens }) => tokens)).toEqual([...wanted])
        expect(tail.lender.status()[0]?.epoch).toBe(healed.epoch)
      }),
    120_000
  )

  it.live(
    "hands hidden states on as its entry chose, on every edge",
    () =>
      Effect.gen(function* () {
        const file = yield* prepare
        const [entry, host, middle, tail] = yield* Effect.all([
          startPeer(file),
          startPeer(file),
          startPeer(file),
          startPeer(file)
        ])
        const wish = yield* ask(entry, [host, middle, tail], file, [1, 4], [], { activations: "q8" })
        yield* wish.until("Serving")
        const before = yield* sentBytes
        const answered = yield* answer(engineOf(host), asked(20, 5, 20))
        expect(answered.tokens.length).toBe(20)
        // As f32 anywhere, that edge alone would take more.
        const rows = 20 + 20 - 1
        expect((yield* sentBytes) - before).toBeLessThan(rows * file.header.embeddingLength * 4)
      }),
    60_000
  )

  it.live(
    "loads a cold spare when a stage's process dies, and its own end lets go of everything",
    () =>
      Effect.gen(function* () {
        const file = yield* prepare
        const requests = [asked(20, 5, 20)]
        const wanted = yield* solo(file, requests)
        const entry = yield* startPeer(file)
        const [host, tail, small, large] = yield* Effect.all([
          startPeer(file),
          startPeer(file),
          startPeer(file, { memoryBytes: 1 }),
          startPeer(file)
        ])
        const wish = yield* ask(entry, [host, tail], file, [3], [small, large])
        yield* wish.until("Serving")
        // The first spare refused, so the second one is the hot one.
        yield* until(() => large.lender.status().some(({ state }) => state === "ready"))
        expect(small.lender.status()).toEqual([])
        process.kill(tail.lender.status()[0]?.processId ?? 0, "SIGKILL")
        const broken = yield* wish.until("Broken")
        expect(broken.peer).toBe(tail.place.peer)
        const { stages } = yield* wish.until("Serving")
        expect(stages.map(({ peer }) => peer)).toEqual([host.place.peer, large.place.peer])
        const engine = engineOf(host)
        const answers = yield* Effect.forEach(requests, (one) => answer(engine, one))
        expect(answers.map(({ tokens }) => tokens)).toEqual([...wanted])
        expect(large.lender.status()[0]?.msPerLayer).toBeGreaterThan(0)
        // Who computed, and who only loaded, says how long a layer takes; nobody else does.
        for (const peer of [host, tail, large]) expect((yield* peer.offers)[0]?.layerMs).toBeGreaterThan(0)
        expect((yield* small.offers)[0]?.layerMs).toBeUndefined()
        yield* wish.end
        yield* wish.until("Disbanded")
        yield* until(() => [host, tail, large].every((peer) => peer.lender.status().length === 0))
        expect([host.serving(), host.host.status()]).toEqual([undefined, []])
      }),
    120_000
  )

  it.live(
    "is disbanded, and says why, where a stage is refused and nobody takes over, or its host cannot hold its own",
    () =>
      Effect.gen(function* () {
        const file = yield* prepare
        const entry = yield* startPeer(file)
        const [host, small, front, poor] = yield* Effect.all([
          startPeer(file),
          startPeer(file, { memoryBytes: 1 }),
          startPeer(file, { only: { from: 0, to: 3 } }),
          startPeer(file, { memoryBytes: 1 })
        ])
        const refused = yield* (yield* ask(entry, [host, small], file, [3])).until("Disbanded")
        expect([refused.peer, refused.reason]).toEqual([small.place.peer, expect.stringContaining("MiB")])
        const outside = yield* (yield* ask(entry, [host, front], file, [3])).until("Disbanded")
        expect([outside.peer, outside.reason]).toEqual([
          front.place.peer,
          expect.stringContaining("layers 0 to 3 only")
        ])
        const own = yield* (yield* ask(entry, [poor, host], file, [3])).until("Disbanded")
        expect([own.peer, own.reason]).toEqual([poor.place.peer, expect.stringContaining("MiB")])
        const another = { ...file, sha256: "f".repeat(64) }
        const unknown = yield* (yield* ask(entry, [host, front], another, [3])).until("Disbanded")
        expect(unknown.reason).toContain("SHA-256")
        // What nobody permits, and what another permits than the entry that they have.
        for (const permits of [
          [],
          yield* permit(host, { group: "ab".repeat(16), host: host.place.peer, model: file }, [front])
        ]) {
          const alone = yield* (yield* ask(entry, [host, front], file, [3], [], { permits })).until("Disbanded")
          expect([alone.peer, alone.reason]).toEqual([front.place.peer, expect.stringContaining("permit")])
        }
        yield* until(() => [host, small, front].every((peer) => peer.lender.status().length === 0))
      }),
    120_000
  )
})
