/** Which models can be split, out of what peers say and what the entry sees of them. */
import { expect } from "bun:test"
import { splitModels } from "@weft/entry/split/SplitModels"
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import * as PeerDirectory from "@weft/mesh/PeerDirectory"
import type { PeerInfo } from "@weft/mesh/PeerInfo"
import type { StageOffer } from "@weft/mesh/StageOffer"
import { Effect, Either } from "effect"
import { it } from "../../support/effect.ts"
import { peer } from "./lending.ts"

const model = (sha: string, changes: Partial<ModelDescription> = {}): ModelDescription => ({
  id: "big",
  sha256: sha.repeat(64),
  sizeBytes: 1_000,
  architecture: "llama",
  quantization: "Q8_0",
  contextTokens: 512,
  slots: 4,
  ...changes
})

const offer = (sha: string, changes: Partial<StageOffer> = {}): StageOffer => ({
  model: model(sha),
  layers: 4,
  memoryBytes: 600,
  layerBytes: [200, 200, 200, 200],
  embeddingBytes: 100,
  headBytes: 100,
  cellBytesPerTokenLayer: 2,
  cuts: [1, 3],
  held: [],
  ...changes
})

const info = (number: number, changes: Partial<PeerInfo>): PeerInfo => ({
  id: peer(number),
  name: `peer ${number}`,
  version: "0",
  memoryBytes: 600,
  threads: 1,
  models: [],
  ...changes
})

const directoryOf = (infos: ReadonlyArray<PeerInfo>) =>
  infos.reduce((directory, one) => Either.getOrThrow(PeerDirectory.register(directory, one, 1, 0)), PeerDirectory.empty)

const reaches = (numbers: ReadonlyArray<number>) =>
  new Map(numbers.map((number) => [peer(number), { address: `10.0.0.${number}:443`, rttMs: number * 10 }]))

it.effect("a model is what most of those who lend it have, with room for the least of them", () =>
  Effect.sync(() => {
    const directory = directoryOf([
      info(1, { stages: [offer("a", { held: [{ from: 0, to: 1 }], layerMs: 3 })] }),
      info(2, { stages: [offer("b")] }),
      info(3, {
        stages: [offer("a", { model: model("a", { contextTokens: 128, slots: 2 }), only: { from: 1, to: 4 } })]
      })
    ])
    const [one, ...others] = splitModels(directory, reaches([1, 2, 3]))
    expect(others).toEqual([])
    expect(one?.model).toMatchObject({ sha256: "a".repeat(64), contextTokens: 128, slots: 2 })
    expect(one?.isServedWhole).toBe(false)
    expect(one?.candidates.map(({ held, id, layerMs, only }) => ({ held, id, layerMs, only }))).toEqual([
      { id: peer(1), held: [{ from: 0, to: 1 }], layerMs: 3, only: undefined },
      { id: peer(3), held: [], layerMs: undefined, only: { from: 1, to: 4 } }
    ])
    expect(one?.planned).toMatchObject({ contextTokens: 128, slots: 2, headLayers: 0.5 })
    expect([1, 2, 3].map((layer) => one?.planned.allowedCuts(layer))).toEqual([true, false, true])
    expect(one?.roundTrips.get(peer(1))?.get(peer(3))).toBe(40)
  })
)

it.effect("the file that is served already is the model, and who serves it whole is told from who hosts a split", () =>
  Effect.sync(() => {
    const stages = [
      { peer: peer(4), from: 0, to: 3 },
      { peer: peer(1), from: 3, to: 4 }
    ]
    const lenders = [info(1, { stages: [offer("a")] }), info(2, { stages: [offer("a")] })]
    const split = directoryOf([info(4, { models: [model("b", { stages })], stages: [offer("b")] }), ...lenders])
    const whole = directoryOf([info(4, { models: [model("b")], stages: [offer("b")] }), ...lenders])
    for (const directory of [split, whole]) {
      const [one] = splitModels(directory, reaches([1, 2, 4]))
      expect(one?.model.sha256).toBe("b".repeat(64))
      expect(one?.candidates.map(({ id }) => id)).toEqual([peer(4)])
      expect(one?.isServedWhole).toBe(directory === whole)
    }
    expect(PeerDirectory.stagesServing(split, "big")).toEqual(stages)
    expect(PeerDirectory.stagesServing(whole, "big")).toBeUndefined()
  })
)

it.effect("who has no link or drains lends nothing, and an owner's own address comes first", () =>
  Effect.sync(() => {
    const lending = [1, 2, 3].map((number) => info(number, { stages: [offer("a")] }))
    const draining = PeerDirectory.heartbeat(directoryOf(lending), peer(3), 1, { state: "draining", models: [] }, 1)
    const [one] = splitModels(draining, reaches([1, 3]))
    expect(one?.candidates.map(({ id }) => id)).toEqual([peer(1)])
    const [said] = splitModels(
      directoryOf([info(1, { address: "home.example:4433", stages: [offer("a")] })]),
      reaches([1])
    )
    expect(said?.addresses.get(peer(1))).toBe("home.example:4433")
    expect(one?.addresses.get(peer(1))).toBe("10.0.0.1:443")
    expect(said?.fingerprint).not.toBe(one?.fingerprint)
  })
)
