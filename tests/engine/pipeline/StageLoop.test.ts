/**
 * The loops of several stages, joined in this process by encoded frames: with any cut, whatever runs beside it and
 * whatever is drafted, an answer is what the whole model gives in the exact profile. Models with random weights: their
 * tokens change with the last bit of a logit.
 */
import { describe, expect } from "bun:test"
import { needsPairs } from "@weft/engine/BatchLoop"
import type * as ModelFile from "@weft/engine/ModelFile"
import * as StageFrame from "@weft/engine/pipeline/StageFrame"
import * as StageLoop from "@weft/engine/pipeline/StageLoop"
import { rowsMax } from "@weft/engine/pipeline/StageWindow"
import { isFirst, isLast } from "@weft/engine/stage/StageKeys"
import { Effect, Either } from "effect"
import * as LlamaStage from "../../../packages/engine/src/internal/llama/LlamaStage.ts"
import { it } from "../../support/effect.ts"
import { contextTokens, cut, type Draft, drive, host, task, truth } from "./staging.ts"

const slots = 4

const openStage = ({ header, path }: ModelFile.ModelFile) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const stage = header.stage ?? { from: 0, to: 1, layers: 1 }
      return LlamaStage.open({
        path,
        accelerator: "cpu",
        gpuLayers: 0,
        contextTokens,
        slots,
        rowsMax,
        threads: 1,
        isFirst: isFirst(stage),
        isLast: isLast(stage),
        onProgress: () => {}
      })
    }),
    (llama) => Effect.sync(llama.close)
  )

/** Returns stages in a row: frames go in at the first, and what is for the host gathers in `out`. */
const line = (files: ReadonlyArray<ModelFile.ModelFile>) =>
  Effect.gen(function* () {
    const opened = yield* Effect.forEach(files, openStage)
    const loops = opened.map((llama, index) => {
      const pairRows = needsPairs(files[index]?.header.quantization ?? "")
      return StageLoop.make(llama, {
        contextTokens,
        slots,
        pairRows,
        inputScale: files[index]?.header.stage?.inputScale
      })
    })
    const out: Array<StageFrame.StageFrame> = []
    const decodes = loops.map(() => 0)
    const give = (index: number, bytes: Uint8Array): void => {
      const frame = Either.getOrThrow(StageFrame.decode(bytes))
      if (frame.kind === "tokens" || frame.kind === "failed") out.push(frame)
      else loops[index]?.submit(frame)
    }
    const turn = (index: number): void => {
      const frames = loops[index]?.turn() ?? []
      decodes[index] = (decodes[index] ?? 0) + 1
      for (const frame of frames) give(index + 1, StageFrame.encode(frame))
    }
    const run = (): void => {
      while (loops.some((loop) => !loop.idle())) for (const index of loops.keys()) turn(index)
    }
    const send = (frame: StageFrame.StageFrame) => give(0, StageFrame.encode(frame))
    const received = Effect.sync(() => {
      if (out.length === 0) run()
      const [first] = out.splice(0, 1)
      if (first === undefined) throw new Error("the stages are idle")
      return first
    })
    return { send, received, run, out, decodes, loops }
  })

const tasks = [task(300, 1), task(130, 2), task(129, 3), task(7, 4)]

const cuts = [[3], [1], [5], [2, 4], [1, 5], [1, 3, 5]]

describe("a model cut into stages gives four answers at once, token for token those of the whole", () => {
  for (const quantization of ["Q4_K_M", "Q8_0", "F16"] as const)
    it.live(
      quantization,
      () =>
        Effect.gen(function* () {
          let wanted: Array<ReadonlyArray<number>> | undefined
          for (const places of quantization === "Q4_K_M" ? cuts : [[2, 4], [1]]) {
            const { stages, whole } = yield* cut(quantization, places)
            wanted ??= yield* truth(whole, tasks)
            const { received, send } = yield* line(stages)
            const hosts = tasks.map((one, job) => host(job, one, wanted?.[job]?.length ?? 0))
            yield* drive(hosts, send, received)
            expect(hosts.map(({ tokens }) => tokens)).toEqual([...wanted])
          }
          expect(wanted?.some((tokens) => tokens.length === 40)).toBe(true)
        }),
      60_000
    )
})

/** Drafts from what is known to come: `right` of the first tokens, then wrong ones, `count` in all. */
const drafting =
  (wanted: ReadonlyArray<number>, right: (at: number) => number, count: number): Draft =>
  ({ length }) =>
    wanted.slice(length, length + count).map((token, index) => (index < right(length) ? token : (token + 1) % 1000))

describe("drafts change no token of four answers at once", () => {
  const manners = {
    "all right": { right: () => 8, count: 5 },
    "all wrong": { right: () => 0, count: 4 },
    "some right": { right: (at: number) => at % 3, count: 3 },
    "none for some": { right: (at: number) => at % 3, count: 2 }
  } as const
  for (const quantization of ["Q4_K_M", "F16"] as const)
    it.live(
      quantization,
      () =>
        Effect.gen(function* () {
          const { stages, whole } = yield* cut(quantization, [2, 5])
          const wanted = yield* truth(whole, tasks)
          for (const [manner, { count, right }] of Object.entries(manners)) {
            const { received, send } = yield* line(stages)
            const hosts = tasks.map((one, job) => {
              const known = wanted[job] ?? []
              const isAlone = manner === "none for some" && job % 2 === 0
              return host(job, one, known.length, isAlone ? undefined : drafting(known, right, count))
            })
            yield* drive(hosts, send, received)
            for (const [job, { tokens }] of hosts.entries())
              expect(tokens.slice(0, wanted[job]?.length)).toEqual([...(wanted[job] ?? [])])
            const rejections = hosts.reduce((sum, one) => sum + one.rejections(), 0)
            expect(manner === "all right" ? rejections === 0 : rejections > 20).toBe(true)
          }
        }),
      60_000
    )
})
