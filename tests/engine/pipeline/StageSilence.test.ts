/**
 * Stages whose processes are stopped or slow, over QUIC: who says nothing because it cannot is found out within
 * seconds, at any moment of an answer; who says nothing because it computes keeps its place however long that takes.
 */
import { describe, expect } from "bun:test"
import * as EngineSupervisor from "@weft/engine/EngineSupervisor"
import type { GenerateRequest } from "@weft/engine/Generation"
import type * as ModelFile from "@weft/engine/ModelFile"
import { Clock, Effect, Fiber } from "effect"
import { it } from "../../support/effect.ts"
import { answer, ask as request } from "../asking.ts"
import { ask, type Peer, prepare, startPeer, until } from "./peering.ts"
import { contextTokens, task } from "./staging.ts"

/** Two seconds, and what a machine that does much else adds; before anything was measured 30 s were once borne. */
const foundMsMax = 6_000

const asked = (promptTokens: number, maxTokens: number): GenerateRequest => {
  const { prompt, sampling } = task(promptTokens, 2)
  return request({ _tag: "Tokens", tokens: prompt }, { sampling: { ...sampling, seed: 2 }, maxTokens })
}

const solo = (whole: ModelFile.ModelFile, question: GenerateRequest) =>
  Effect.scoped(
    Effect.flatMap(
      EngineSupervisor.make({ path: whole.path, modelId: "m", profile: "exact", contextTokens, threads: 1 }),
      (engine) => Effect.map(answer(engine, question), ({ tokens }) => [...tokens])
    )
  )

const engineOf = (peer: Peer) => {
  const serving = peer.serving()
  if (serving === undefined) throw new Error("no pipeline serves")
  return serving[0]
}

/** A host whose stages take `slowMs` for each window. */
const slow = (slowMs: number) => {
  const path = new URL("./fixtures/slowHost.ts", import.meta.url).pathname
  return { config: { hostCommand: [process.execPath, path, String(slowMs)] } } as const
}

const stop = (peer: Peer) => Effect.sync(() => process.kill(peer.lender.status()[0]?.processId ?? 0, "SIGSTOP"))
const isLoaded = (peer: Peer) => peer.lender.status()[0]?.state === "ready"
const jobsOf = (peer: Peer) => peer.lender.status()[0]?.jobs ?? 0

describe("a stage whose process is stopped", () => {
  it.live(
    "amid an answer, or before the first window of an epoch, is found within seconds and alone loses its place",
    () =>
      Effect.gen(function* () {
        const file = yield* prepare
        const question = asked(30, 400)
        const wanted = yield* solo(file, question)
        const [entry, host, middle, tail, spare, last] = yield* Effect.all([
          startPeer(file),
          startPeer(file),
          startPeer(file),
          startPeer(file),
          startPeer(file),
          startPeer(file)
        ])
        const wish = yield* ask(entry, [host, middle, tail], file, [1, 4], [spare, last])
        yield* wish.until("Serving")
        yield* until(() => isLoaded(spare))
        const answering = yield* Effect.fork(answer(engineOf(host), question))
        // It holds the layers of the middle, and has computed nothing when it takes over.
        yield* stop(spare)
        yield* until(() => jobsOf(middle) > 0)
        for (const stopped of [middle, spare]) {
          const sinceMs = yield* Clock.currentTimeMillis
          if (stopped === middle) yield* stop(middle)
          const broken = yield* wish.until("Broken")
          expect([broken.peer, broken.reason]).toEqual([stopped.place.peer, expect.stringContaining("stood still")])
          expect((yield* Clock.currentTimeMillis) - sinceMs).toBeLessThan(foundMsMax)
          if (stopped === middle) yield* wish.until("Serving")
        }
        const healed = yield* wish.until("Serving")
        expect(healed.stages.map(({ peer }) => peer)).toEqual([host, last, tail].map(({ place }) => place.peer))
        expect([...(yield* Fiber.join(answering)).tokens]).toEqual(wanted)
      }),
    60_000
  )

  it.live(
    "amid a prompt that takes long is found within seconds",
    () =>
      Effect.gen(function* () {
        const file = yield* prepare
        const question = asked(400, 4)
        const wanted = yield* solo(file, question)
        const [entry, host, tail, spare] = yield* Effect.all([
          startPeer(file),
          startPeer(file),
          startPeer(file, slow(1_000)),
          startPeer(file)
        ])
        const wish = yield* ask(entry, [host, tail], file, [3], [spare])
        expect((yield* wish.until("Serving")).stages[1]?.peer).toBe(tail.place.peer)
        const answering = yield* Effect.fork(answer(engineOf(host), question))
        yield* until(() => jobsOf(tail) > 0)
        const sinceMs = yield* Clock.currentTimeMillis
        yield* stop(tail)
        expect((yield* wish.until("Broken")).peer).toBe(tail.place.peer)
        expect((yield* Clock.currentTimeMillis) - sinceMs).toBeLessThan(foundMsMax)
        yield* wish.until("Serving")
        expect([...(yield* Fiber.join(answering)).tokens]).toEqual(wanted)
      }),
    60_000
  )

  it.live(
    "at the host itself ends the pipeline within seconds",
    () =>
      Effect.gen(function* () {
        const file = yield* prepare
        const [entry, host, tail] = yield* Effect.all([startPeer(file), startPeer(file), startPeer(file)])
        const wish = yield* ask(entry, [host, tail], file, [3])
        yield* wish.until("Serving")
        const engine = engineOf(host)
        const answering = yield* Effect.fork(answer(engine, asked(30, 400)))
        yield* until(() => jobsOf(tail) > 0)
        const sinceMs = yield* Clock.currentTimeMillis
        process.kill((yield* engine.hostProcessId) ?? 0, "SIGSTOP")
        const over = yield* wish.until("Disbanded")
        expect([over.peer, over.reason]).toEqual([host.place.peer, expect.stringContaining("stood still")])
        expect((yield* Clock.currentTimeMillis) - sinceMs).toBeLessThan(foundMsMax)
        expect((yield* Fiber.join(answering)).last?._tag).toBe("Failed")
      }),
    60_000
  )
})

describe("a stage that is slow", () => {
  it.live(
    "keeps its place, though each of its windows takes longer than silence is borne",
    () =>
      Effect.gen(function* () {
        const file = yield* prepare
        const question = asked(150, 2)
        const wanted = yield* solo(file, question)
        const [entry, host, middle, tail, spare] = yield* Effect.all([
          startPeer(file),
          startPeer(file),
          startPeer(file, slow(3_500)),
          startPeer(file),
          startPeer(file)
        ])
        const wish = yield* ask(entry, [host, middle, tail], file, [2, 4], [spare])
        const { epoch, stages } = yield* wish.until("Serving")
        expect(stages[1]?.peer).toBe(middle.place.peer)
        const answered = yield* answer(engineOf(host), question)
        expect([...answered.tokens]).toEqual(wanted)
        expect(host.host.status()).toMatchObject([{ phase: "serving", epoch }])
      }),
    60_000
  )
})
