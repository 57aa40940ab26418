/**
 * Pipelines of real child processes with a draft model in the host's: whatever it guesses, they answer what one host of
 * the whole model answers in the exact profile.
 */
import { describe, expect } from "bun:test"
import * as DraftFile from "@weft/engine/pipeline/DraftFile"
import type * as PipelineEngine from "@weft/engine/pipeline/PipelineEngine"
import * as StageMemory from "@weft/engine/pipeline/StageMemory"
import { Effect } from "effect"
import { it } from "../../support/effect.ts"
import { answer } from "../asking.ts"
import { request, seen, solo, together } from "./comparing.ts"
import { pipeline, slots, until } from "./piping.ts"
import { contextTokens, cut, task, written } from "./staging.ts"

describe("a pipeline", () => {
  for (const [which, quantization, seed] of [
    ["that is the whole model itself", "Q4_K_M", 11],
    ["that is another one", "Q8_0", 12]
  ] as const)
    it.live(
      `with a draft model ${which} answers the same, greedy and drawn`,
      () =>
        Effect.gen(function* () {
          const { stages, whole } = yield* cut("Q4_K_M", [3])
          const draft = yield* written(quantization, seed)
          const asked = [1, 2, 3, 4].map((one) => request(task(60 * one, one), { maxTokens: 40 }))
          const wanted = yield* solo(whole, asked)
          const { engine, faults } = yield* pipeline(whole, stages, { delayMs: 50, draft })
          const alone = yield* Effect.forEach(asked, (one) => answer(engine, one))
          expect(alone.map(seen)).toEqual(wanted.map(seen))
          const isSame = draft.sha256 === whole.sha256
          // One that is mostly wrong may have had no chance at all.
          yield* until(() => (engine.stats().model?.drafted ?? -1) >= (isSame ? 60 : 0))
          const { accepted = 0, drafted = 0 } = engine.stats().model ?? {}
          if (isSame) expect(accepted).toBeGreaterThan(0.9 * drafted)
          else expect(accepted).toBeLessThanOrEqual(0.3 * drafted)
          expect((yield* together(engine, asked)).map(seen)).toEqual(wanted.map(seen))
          expect(faults).toEqual([])
        }),
      60_000
    )

  it.live("goes without a draft model that cannot be opened, and counts the memory of one that can", () =>
    Effect.gen(function* () {
      const { stages, whole } = yield* cut("Q4_K_M", [3])
      const draft = yield* written("Q8_0", 12)
      const [first] = stages
      if (first === undefined) throw new Error("no stage")
      const { header, sizeBytes } = first
      const needed = StageMemory.bytesNeeded({ header, sizeBytes, slots, contextTokens })
      const both = needed + DraftFile.bytesNeeded(draft, { slots, contextTokens })
      const start = (options: Partial<PipelineEngine.PipelineEngineOptions>) =>
        Effect.scoped(Effect.map(pipeline(whole, stages, options), ({ engine }) => engine))
      expect((yield* start({ draft, memoryBytesMax: both })).draft).toBe(draft.path)
      expect((yield* Effect.flip(start({ draft, memoryBytesMax: both - 1 }))).reason).toBe("model_unloadable")
      const gone = { ...draft, path: `${draft.path}.gone` }
      const { engine } = yield* pipeline(whole, stages, { draft: gone })
      expect(engine.draft).toBeUndefined()
      const asked = request(task(40, 1))
      expect((yield* answer(engine, asked)).tokens).toEqual((yield* solo(whole, [asked]))[0]?.tokens ?? [])
    })
  )
})
