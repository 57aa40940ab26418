/** The memory that a stage takes is known before it is loaded: its file, and cells as large as llama.cpp makes them. */
import { expect } from "bun:test"
import * as ModelFile from "@weft/engine/ModelFile"
import * as StageMemory from "@weft/engine/pipeline/StageMemory"
import { Effect } from "effect"
import { it } from "../../support/effect.ts"
import { models } from "../asking.ts"
import { cut } from "./staging.ts"

it.live("a stage takes its share of the whole model's cells, and its own file", () =>
  Effect.gen(function* () {
    const { stages, whole } = yield* cut("Q8_0", [2])
    const cells = ({ header }: ModelFile.ModelFile, slots: number, contextTokens: number) =>
      StageMemory.bytesNeeded({ header, sizeBytes: 0, slots, contextTokens })
    // Keys and values of 256 numbers in 6 layers, 34 bytes for 32 of them.
    expect(cells(whole, 1, 1)).toBe(6 * 2 * 256 * (34 / 32))
    expect(cells(whole, 4, 512)).toBe(4 * 512 * cells(whole, 1, 1))
    expect(stages.map((stage) => cells(stage, 1, 1) / cells(whole, 1, 1))).toEqual([2 / 6, 4 / 6])
    // Fewer heads of keys and values than of queries.
    const { header } = yield* ModelFile.open(models.small)
    const { embeddingLength, layers, metadata } = header
    const heads = Number(metadata.get("llama.attention.head_count")?.value)
    const groups = Number(metadata.get("llama.attention.head_count_kv")?.value)
    const values = layers * 2 * groups * (embeddingLength / heads)
    expect(StageMemory.bytesNeeded({ header, sizeBytes: 0, slots: 1, contextTokens: 1 })).toBe(
      Math.ceil(values * (34 / 32))
    )
  })
)

it.live("a stage is taken up to the last byte that may be used", () =>
  Effect.gen(function* () {
    const { stages } = yield* cut("Q8_0", [2])
    for (const { header, sizeBytes } of stages) {
      const loading = { header, sizeBytes, slots: 4, contextTokens: 512 }
      const needed = StageMemory.bytesNeeded(loading)
      expect(needed).toBeGreaterThan(sizeBytes * 1.1)
      expect(StageMemory.refusalOf(loading, needed)).toBeUndefined()
      expect(StageMemory.refusalOf(loading, needed - 1)).toMatch(/needs \d+ MiB with 4 slots of 512 tokens/)
    }
  })
)
