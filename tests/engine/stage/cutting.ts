/** What the tests of stage files share: small models with their headers, and the loading of files in a child. */
import { join } from "node:path"
import * as GgufGate from "@weft/engine/GgufGate"
import type { GgufHeader } from "@weft/engine/GgufHeader"
import * as GgufSource from "@weft/engine/GgufSource"
import { rulesOf, type StageRules } from "@weft/engine/stage/StageRules"
import { Effect } from "effect"
import { writeStageModel } from "../../support/stageModelFile.ts"
import type { StageModel } from "../../support/stageModels.ts"
import { models } from "../asking.ts"

/** Represents a model that is there to be cut. */
export interface Prepared {
  readonly path: string
  readonly source: GgufSource.ByteSource
  readonly header: GgufHeader
  readonly rules: StageRules
}

/** Returns the file at `path`, read whole. */
export const sourceOf = (path: string): Effect.Effect<GgufSource.ByteSource> =>
  Effect.map(
    Effect.promise(() => Bun.file(path).bytes()),
    GgufSource.fromBytes
  )

/** Returns the model at `path`, its file read whole. */
export const openModel = Effect.fnUntraced(function* (path: string) {
  const source = yield* sourceOf(path)
  const header = yield* GgufGate.check(source)
  return { path, source, header, rules: yield* rulesOf(header) }
})

/** Writes a small model into `folder` and opens it. */
export const prepare = (folder: string, model: StageModel) =>
  Effect.flatMap(
    Effect.promise(() => writeStageModel(folder, model, 1, models.small)),
    openModel
  )

/** Represents how the loading of a file ended. */
export interface Loading {
  readonly exitCode: number
  /** Tokens of the vocabulary of each file, as llama.cpp found them. */
  readonly vocabularyTokens: ReadonlyArray<number>
}

/** Loads files, one after the other, in a child process; what llama.cpp says is shown where one does not load. */
export const load = (paths: ReadonlyArray<string>): Effect.Effect<Loading> =>
  Effect.promise(async () => {
    const child = Bun.spawn([process.execPath, join(import.meta.dir, "loader.ts"), ...paths], {
      env: { ...process.env, GGML_NO_BACKTRACE: "1" },
      stdout: "pipe",
      stderr: "pipe"
    })
    const [out, errors, exitCode] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited
    ])
    if (exitCode !== 0) console.error(errors)
    return { exitCode, vocabularyTokens: out.trim().split("\n").map(Number) }
  })
