/** What the tests of stage files share: the bytes of a model's file, and loading a file in a child process. */
import { join } from "node:path"
import * as GgufSource from "@weft/engine/GgufSource"
import { Effect } from "effect"

/** Returns the file at `path`, read whole. */
export const sourceOf = (path: string): Effect.Effect<GgufSource.ByteSource> =>
  Effect.map(
    Effect.promise(() => Bun.file(path).bytes()),
    GgufSource.fromBytes
  )

/** Represents how the loading of a file ended. */
export interface Loading {
  readonly exitCode: number
  /** Tokens of the vocabulary llama.cpp found; not a number where it found none. */
  readonly vocabularyTokens: number
}

/** Loads a file in a child process; what llama.cpp says is shown where it does not load. */
export const load = (path: string): Effect.Effect<Loading> =>
  Effect.promise(async () => {
    const child = Bun.spawn([process.execPath, join(import.meta.dir, "loader.ts"), path], {
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
    return { exitCode, vocabularyTokens: Number.parseInt(out, 10) }
  })
