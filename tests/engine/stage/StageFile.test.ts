/** Stage files cut from a model with random weights pass the gate, and llama.cpp loads them. */
import { expect } from "bun:test"
import { join } from "node:path"
import * as ModelFile from "@weft/engine/ModelFile"
import * as StageFile from "@weft/engine/stage/StageFile"
import * as StageLayout from "@weft/engine/stage/StageLayout"
import * as Shape from "@weft/infra/bench/model/Shape"
import { Effect } from "effect"
import { it } from "../../support/effect.ts"
import { directory } from "../../support/processes.ts"
import { writeModel } from "../looping.ts"
import { load, sourceOf } from "./cutting.ts"

it.live("llama.cpp loads the first, a middle, the last and the only stage of a Llama", () =>
  Effect.gen(function* () {
    const folder = yield* directory
    const path = yield* Effect.promise(() => writeModel(folder, { ...Shape.touchy, layers: 6 }))
    const { header, sha256 } = yield* ModelFile.open(path)
    for (const [from, to] of [
      [0, 2],
      [2, 4],
      [4, 6],
      [0, 6]
    ] as const) {
      const out = join(folder, `${from}-${to}.gguf`)
      const layout = yield* StageLayout.make(header, { from, to }, { source: sha256 })
      yield* StageFile.write(yield* sourceOf(path), layout, out)
      const stage = yield* ModelFile.open(out, { kind: "stage" })
      expect(stage.sizeBytes).toBe(layout.sizeBytes)
      expect(stage.header.stage).toEqual({ from, to, layers: 6, source: sha256, inputScale: undefined })
      const isInner = from > 0 && to < 6
      expect(yield* load(out)).toEqual({ exitCode: 0, vocabularyTokens: isInner ? 32 : 1024 })
    }
  })
)
