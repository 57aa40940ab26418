/** Model files on a real disk: what is opened and hashed, and what is refused with what to do about it. */
import { expect } from "bun:test"
import { appendFileSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as ModelFile from "@weft/engine/ModelFile"
import { Effect } from "effect"
import { it } from "../support/effect.ts"
import { model, value, withKeys, write } from "../support/gguf.ts"

const models = join(import.meta.dir, "../../packages/engine/models")
const sha256 = (bytes: Uint8Array): string => new Bun.CryptoHasher("sha256").update(bytes).digest("hex")

const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "weft-model-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)
const stored = (bytes: Uint8Array) =>
  Effect.gen(function* () {
    const path = join(yield* directory, "model.gguf")
    yield* Effect.promise(() => Bun.write(path, bytes))
    return path
  })

it.live("opens the bundled models: what they are and the SHA-256 of their bytes", () =>
  Effect.gen(function* () {
    for (const [name, layers, embeddingLength] of [
      ["tiny-nano-f16.gguf", 4, 128],
      ["tiny-small-f16.gguf", 8, 256]
    ] as const) {
      const path = join(models, name)
      const file = yield* ModelFile.open(path)
      const bytes = yield* Effect.promise(() => Bun.file(path).bytes())
      expect(file).toMatchObject({ path, sizeBytes: bytes.length, sha256: sha256(bytes) })
      expect(file.header).toMatchObject({
        architecture: "llama",
        layers,
        embeddingLength,
        contextTokens: 512,
        vocabularySize: 1024,
        quantization: "F16",
        tokens: {
          bosToken: "<|bos|>",
          eosToken: "<|end|>",
          controlTokens: ["<|pad|>", "<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"],
          addBos: true
        }
      })
      expect(file.header.chatTemplate).toContain("add_generation_prompt")
    }
  })
)

it.live("reports how far the hashing is, up to the whole file", () =>
  Effect.gen(function* () {
    const steps: Array<readonly [number, number]> = []
    const path = join(models, "tiny-small-f16.gguf")
    const { sizeBytes } = yield* ModelFile.open(path, { onProgress: (done, whole) => void steps.push([done, whole]) })
    expect(steps.length).toBe(Math.ceil(sizeBytes / 2 ** 20))
    expect(steps.at(-1)).toEqual([sizeBytes, sizeBytes])
  })
)

it.live("refuses a file the gate refuses, before it is hashed, and says what to do", () =>
  Effect.gen(function* () {
    const path = yield* stored(write(withKeys({ "general.architecture": undefined })))
    const steps: Array<number> = []
    const rejected = yield* Effect.flip(ModelFile.open(path, { onProgress: (done) => void steps.push(done) }))
    expect(rejected).toMatchObject({ _tag: "ModelFileRejected", reason: "NoArchitecture", path })
    expect(rejected.message).toContain(path)
    expect(rejected.message).toContain("Use a GGUF file of a text model")
    expect(steps).toEqual([])
  })
)

it.live("says how to join the parts of a split model", () =>
  Effect.gen(function* () {
    const path = yield* stored(write(withKeys({ "split.count": value.u32(2) })))
    expect((yield* Effect.flip(ModelFile.open(path))).message).toContain("llama-gguf-split --merge")
  })
)

it.live("refuses a file that is not there, a directory, and a pipe that nobody writes", () =>
  Effect.gen(function* () {
    const folder = yield* directory
    const reason = (path: string) => Effect.map(Effect.flip(ModelFile.open(path)), (rejected) => rejected.reason)
    expect(yield* reason(join(folder, "none.gguf"))).toBe("Unreadable")
    expect(yield* reason(folder)).toBe("NotAFile")
    const pipe = join(folder, "pipe.gguf")
    expect(Bun.spawnSync(["mkfifo", pipe]).exitCode).toBe(0)
    expect(yield* reason(pipe)).toBe("NotAFile")
  })
)

it.live("refuses a file that changes while it is read", () =>
  Effect.gen(function* () {
    const path = yield* stored(write(model))
    const onProgress = () => appendFileSync(path, "x")
    const rejected = yield* Effect.flip(ModelFile.open(path, { onProgress }))
    expect(rejected.reason).toBe("Changed")
  })
)
