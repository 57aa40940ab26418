/** Models with random weights pass the gate, load, answer with finite numbers, and are the same every time. */
import { expect } from "bun:test"
import { readdirSync, rmSync } from "node:fs"
import * as ModelFile from "@weft/engine/ModelFile"
import * as RandomModel from "@weft/infra/bench/model/RandomModel"
import * as Shape from "@weft/infra/bench/model/Shape"
import { Effect } from "effect"
import { answer, askEndless, makeEngine, models } from "../engine/asking.ts"
import { it } from "../support/effect.ts"
import { directory } from "../support/processes.ts"

/** The least that has every kind of tensor and block. */
const least: Shape.Shape = {
  name: "least",
  quantization: "Q4_K_M",
  embedding: 256,
  inner: 512,
  layers: 3,
  heads: 4,
  groups: 2,
  vocabulary: 2000,
  context: 512,
  temper: "plain"
}

const write = (shape: Shape.Shape, seed: number) =>
  Effect.flatMap(directory, (folder) => Effect.promise(() => RandomModel.make(folder, shape, seed, models.small)))

it.live("the small model passes the gate as the Llama it was planned as", () =>
  Effect.gen(function* () {
    const { header, sizeBytes } = yield* ModelFile.open(yield* write(Shape.small, 1))
    expect(header).toMatchObject({
      architecture: "llama",
      quantization: "Q4_K_M",
      contextTokens: 4096,
      vocabularySize: 32_000,
      layers: Shape.small.layers
    })
    expect([...new Set(header.tensors.map(({ type }) => type.name))].sort()).toEqual(["F32", "Q4_K", "Q6_K"])
    expect(sizeBytes / Shape.parametersOf(Shape.small)).toBeCloseTo(0.66, 1)
    const silent = header.tokens.controlTokens.length
    expect(silent).toBeLessThan(16)
  })
)

it.live("the small model loads and draws sensible tokens: logits that are no numbers would draw token 0", () =>
  Effect.gen(function* () {
    const path = yield* write(Shape.small, 1)
    const engine = yield* makeEngine({ path, contextTokens: 512 })
    const { last, text, tokens } = yield* answer(engine, askEndless({ maxTokens: 64 }))
    expect(last).toMatchObject({ _tag: "Finished", finishReason: "length" })
    expect(tokens.length).toBe(64)
    // Tokens 0 to 261 are control tokens and single bytes, whose logits are exactly 0.
    expect(Math.min(...tokens)).toBeGreaterThan(261)
    expect(new Set(tokens).size).toBeGreaterThan(16)
    expect(text).toMatch(/^[\x20-\x7e]+$/)
  })
)

it.live("the same shape and seed give the same file, another seed another one, and what is there is used again", () =>
  Effect.gen(function* () {
    const folder = yield* directory
    const make = (seed: number) => Effect.promise(() => RandomModel.make(folder, least, seed, models.small))
    const first = yield* make(7)
    const { sha256 } = yield* ModelFile.open(first)
    rmSync(first)
    expect(yield* make(7)).toBe(first)
    expect((yield* ModelFile.open(first)).sha256).toBe(sha256)
    const other = yield* make(8)
    expect(other).not.toBe(first)
    expect((yield* ModelFile.open(other)).sha256).not.toBe(sha256)
    expect(readdirSync(folder).length).toBe(2)
  })
)
