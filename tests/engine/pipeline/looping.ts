/** Stage loops in the test's own process, alone or joined by encoded frames. */
import { needsPairs } from "@weft/engine/BatchLoop"
import type * as ModelFile from "@weft/engine/ModelFile"
import * as StageFrame from "@weft/engine/pipeline/StageFrame"
import * as StageLoop from "@weft/engine/pipeline/StageLoop"
import * as StageWindow from "@weft/engine/pipeline/StageWindow"
import { isFirst, isLast } from "@weft/engine/stage/StageKeys"
import { Effect, Either } from "effect"
import * as LlamaStage from "../../../packages/engine/src/internal/llama/LlamaStage.ts"
import { contextTokens } from "./staging.ts"

/** Jobs of a stage at once. */
export const slots = 4

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
        rowsMax: StageWindow.rowsMax,
        threads: 1,
        isFirst: isFirst(stage),
        isLast: isLast(stage),
        onProgress: () => {}
      })
    }),
    (llama) => Effect.sync(llama.close)
  )

/** Returns the loop of a stage, whose slots hold `contextTokens`. */
export const openLoop = (file: ModelFile.ModelFile) =>
  Effect.map(openStage(file), (llama) => {
    const pairRows = needsPairs(file.header.quantization)
    return StageLoop.make(llama, { contextTokens, slots, pairRows, inputScale: file.header.stage?.inputScale })
  })

/** Returns stages in a row: frames go in at the first, and what is for the host gathers in `out`. */
export const line = (files: ReadonlyArray<ModelFile.ModelFile>) =>
  Effect.gen(function* () {
    const loops = yield* Effect.forEach(files, openLoop)
    const out: Array<StageFrame.StageFrame> = []
    const give = (index: number, bytes: Uint8Array): void => {
      const frame = Either.getOrThrow(StageFrame.decode(bytes))
      if (frame.kind === "failed" || (frame.kind === "tokens" && frame.drawn > 0)) out.push(frame)
      else if (frame.kind === "tokens") return
      else loops[index]?.submit(frame)
    }
    const turn = (index: number): void => {
      const frames = loops[index]?.turn() ?? []
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
    return { send, received }
  })
