/**
 * What smaller hidden states on the edges of a split change, for several architectures cut twice: nothing as `f32`, and
 * no more with twice the bits. The weights are random, so the smallest change of a computation can show.
 */
import { expect } from "bun:test"
import * as Forced from "@weft/infra/bench/activations/Forced"
import { Effect } from "effect"
import { it } from "../../support/effect.ts"
import { directory } from "../../support/processes.ts"
import { stageModel } from "../../support/stageModels.ts"
import { prepare } from "./cutting.ts"

/** Positions that are compared. */
const tokens = 64
/** Parts of the tokens that stay the same at least; 0.98 and 0.97 where this was written, by processor. */
const leastOf = { f16: 0.9, q8: 0.85 }
/** Three of the positions: of a few that change, chance has its part. */
const chance = 0.05

for (const name of ["llama", "qwen3", "gemma3"])
  it.live(
    `${name} says the same with f32 between its stages, and most of it with f16 and q8`,
    () =>
      Effect.gen(function* () {
        const folder = yield* directory
        const { path } = yield* prepare(folder, stageModel(name))
        const types = ["f32", "f16", "q8"] as const
        const model = yield* Forced.measure({ path, folder, tokens, stages: 3, threads: 1, types })
        expect(model.cuts.length).toBe(2)
        // A model that says one thing again and again would keep saying it.
        expect(model.likeliest).toBeGreaterThan(12)
        const [single, half, quarter] = model.outcomes
        expect(single).toEqual({ type: "f32", agreement: 1, firstDivergence: null, bytesPerToken: 1060, asF32: 0 })
        expect(half).toMatchObject({ type: "f16", bytesPerToken: 548, asF32: 0 })
        expect(quarter).toMatchObject({ type: "q8", bytesPerToken: 324, asF32: 0 })
        expect(half?.agreement).toBeGreaterThanOrEqual(leastOf.f16)
        expect(quarter?.agreement).toBeGreaterThanOrEqual(leastOf.q8)
        expect(half?.agreement).toBeGreaterThanOrEqual((quarter?.agreement ?? 1) - chance)
      }),
    60_000
  )
