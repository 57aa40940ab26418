/**
 * Stage files on disk: those of every architecture pass the gate and llama.cpp loads them; what was written is what the
 * layout said; whatever goes wrong leaves nothing behind.
 */
import { expect } from "bun:test"
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs"
import { join } from "node:path"
import { GgufRejected } from "@weft/engine/GgufRejected"
import type * as GgufSource from "@weft/engine/GgufSource"
import * as ModelFile from "@weft/engine/ModelFile"
import * as StageFile from "@weft/engine/stage/StageFile"
import * as StageLayout from "@weft/engine/stage/StageLayout"
import { nearestCut } from "@weft/engine/stage/StageRules"
import * as Shape from "@weft/infra/bench/model/Shape"
import { Deferred, Effect, Exit, Fiber } from "effect"
import { it } from "../../support/effect.ts"
import { directory } from "../../support/processes.ts"
import { stageModel, stageModels } from "../../support/stageModels.ts"
import { writeModel } from "../looping.ts"
import { load, openModel, type Prepared, prepare } from "./cutting.ts"

/** Cuts the model into three stages next to thirds of it; returns their paths and what vocabulary each should have. */
const cutInThree = Effect.fnUntraced(function* (folder: string, model: Prepared) {
  const { header, rules, source } = model
  const thirds = [1, 2].map((part) => nearestCut(rules, Math.round((part * rules.layers) / 3))?.cut ?? 0)
  const bounds = [...new Set([0, ...thirds, rules.layers])]
  const stages: Array<{ readonly path: string; readonly vocabularyTokens: number }> = []
  for (const [index, from] of bounds.slice(0, -1).entries()) {
    const to = bounds[index + 1] ?? 0
    const path = join(folder, `${from}-${to}.gguf`)
    const layout = yield* StageLayout.make(header, { from, to })
    yield* StageFile.write(source, layout, path)
    const stage = yield* ModelFile.open(path, { kind: "stage" })
    expect(stage.sizeBytes).toBe(layout.sizeBytes)
    const isInner = from > 0 && to < rules.layers
    const inputScale = from === 0 ? undefined : rules.inputScale
    expect(stage.header).toMatchObject({ layers: to - from, architecture: header.architecture })
    expect(stage.header.stage).toEqual({ from, to, layers: rules.layers, source: undefined, inputScale })
    stages.push({ path, vocabularyTokens: isInner ? 32 : header.vocabularySize })
  }
  return stages
})

for (const model of stageModels)
  it.live(`the stages of ${model.name} pass the gate and llama.cpp loads them, as it does the whole`, () =>
    Effect.gen(function* () {
      const folder = yield* directory
      const whole = yield* prepare(folder, model)
      const stages = yield* cutInThree(folder, whole)
      expect(stages.length).toBeGreaterThan(1)
      expect(yield* load([whole.path, ...stages.map(({ path }) => path)])).toEqual({
        exitCode: 0,
        vocabularyTokens: [whole.header.vocabularySize, ...stages.map(({ vocabularyTokens }) => vocabularyTokens)]
      })
    })
  )

it.live("so do those of a model whose tensors have types of different lengths", () =>
  Effect.gen(function* () {
    const folder = yield* directory
    const whole = yield* openModel(yield* Effect.promise(() => writeModel(folder, { ...Shape.touchy, layers: 5 })))
    const stages = yield* cutInThree(folder, whole)
    expect((yield* load(stages.map(({ path }) => path))).exitCode).toBe(0)
  })
)

/** A small Llama and the layout of its layers 2 to 4. */
const middle = Effect.gen(function* () {
  const folder = yield* directory
  const whole = yield* prepare(folder, stageModel("llama"))
  const layout = yield* StageLayout.make(whole.header, { from: 2, to: 4 }, { source: "ab".repeat(32) })
  const stages = join(folder, "stages")
  mkdirSync(stages)
  return { folder: stages, whole, layout, path: join(stages, "middle.gguf") }
})

it.live("reports every step, names the model it is of, and writes over what is there", () =>
  Effect.gen(function* () {
    const { folder, layout, path, whole } = yield* middle
    yield* Effect.promise(() => Bun.write(path, "something else"))
    const steps: Array<number> = []
    yield* StageFile.write(whole.source, layout, path, { onProgress: (bytes) => void steps.push(bytes) })
    expect(steps.at(-1)).toBe(layout.sizeBytes)
    expect(steps).toEqual(steps.toSorted((left, right) => left - right))
    expect(readdirSync(folder)).toEqual(["middle.gguf"])
    expect((yield* ModelFile.open(path, { kind: "stage" })).header.stage?.source).toBe("ab".repeat(32))
    expect(statSync(path).size).toBe(layout.sizeBytes)
  })
)

it.live("a model's file that ends early or cannot be read is named, and nothing is left on disk", () =>
  Effect.gen(function* () {
    const { folder, layout, path, whole } = yield* middle
    const broken: ReadonlyArray<readonly [GgufSource.ByteSource, string]> = [
      [{ ...whole.source, sizeBytes: layout.sourceBytes - 1 }, "SourceEnded"],
      [{ ...whole.source, read: (offset, length) => whole.source.read(offset, Math.min(length, 1000)) }, "SourceEnded"],
      [
        {
          ...whole.source,
          read: () => Effect.fail(new GgufRejected({ reason: "Unreadable", detail: "the disk is gone" }))
        },
        "SourceUnreadable"
      ]
    ]
    for (const [source, reason] of broken) {
      const error = yield* Effect.flip(StageFile.write(source, layout, path))
      expect(error.reason as string).toBe(reason)
      expect(error.message).toContain(path)
      expect(readdirSync(folder)).toEqual([])
    }
  })
)

it.live("a place that cannot be written is named, and nothing is left on disk", () =>
  Effect.gen(function* () {
    const { folder, layout, path, whole } = yield* middle
    const error = yield* Effect.flip(StageFile.write(whole.source, layout, join(folder, "missing", "middle.gguf")))
    expect(error.reason).toBe("Unwritable")
    mkdirSync(path)
    expect((yield* Effect.flip(StageFile.write(whole.source, layout, path))).reason).toBe("Unwritable")
    expect(readdirSync(folder)).toEqual(["middle.gguf"])
  })
)

it.live("a writing that is interrupted leaves nothing on disk, and what was there before stays", () =>
  Effect.gen(function* () {
    const { folder, layout, path, whole } = yield* middle
    yield* Effect.promise(() => Bun.write(path, "before"))
    const reached = yield* Deferred.make<void>()
    const stuck: GgufSource.ByteSource = {
      ...whole.source,
      read: () => Effect.zipRight(Deferred.succeed(reached, undefined), Effect.never)
    }
    const writing = yield* Effect.fork(StageFile.write(stuck, layout, path))
    yield* Deferred.await(reached)
    expect(readdirSync(folder).length).toBe(2)
    expect(Exit.isInterrupted(yield* Fiber.interrupt(writing))).toBe(true)
    expect(readdirSync(folder)).toEqual(["middle.gguf"])
    expect(yield* Effect.promise(() => Bun.file(path).text())).toBe("before")
    expect(existsSync(path)).toBe(true)
  })
)
