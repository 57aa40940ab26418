/** A draft model must have the tokens of the model that it guesses for, and its memory is known before it is loaded. */
import { expect } from "bun:test"
import { join } from "node:path"
import * as ModelFile from "@weft/engine/ModelFile"
import * as DraftFile from "@weft/engine/pipeline/DraftFile"
import * as StageMemory from "@weft/engine/pipeline/StageMemory"
import { Effect } from "effect"
import { it } from "../../support/effect.ts"
import * as Gguf from "../../support/gguf.ts"
import { directory } from "../../support/processes.ts"
import { models } from "../asking.ts"

/** Writes a model with these tokens. */
const withTokens = (tokens: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const path = join(yield* directory, "model.gguf")
    const keys = Gguf.withKeys({
      "tokenizer.ggml.tokens": Gguf.value.array(tokens.map(Gguf.value.string)),
      "tokenizer.ggml.token_type": Gguf.value.array(tokens.map(() => Gguf.value.i32(1)))
    })
    const dims = [Gguf.sizes.embedding, tokens.length]
    const tensors = keys.tensors.map((one) => (one.name === "token_embd.weight" ? { ...one, dims } : one))
    yield* Effect.promise(() => Bun.write(path, Gguf.write({ ...keys, tensors })))
    return yield* ModelFile.open(path)
  })

it.live("a draft model has the same tokens, but for the padding behind them", () =>
  Effect.gen(function* () {
    const model = yield* withTokens(Gguf.tokens)
    const check = (tokens: ReadonlyArray<string>) =>
      Effect.gen(function* () {
        const draft = yield* withTokens(tokens)
        const one = yield* Effect.either(DraftFile.check(draft, model))
        expect((yield* Effect.either(DraftFile.check(model, draft)))._tag).toBe(one._tag)
        return one._tag === "Left" ? one.left.message : "same"
      })
    const padding = (count: number) => Array.from({ length: count }, (_, at) => `[PAD${at}]`)
    expect(yield* check(Gguf.tokens)).toBe("same")
    expect(yield* check([...Gguf.tokens, ...padding(128)])).toBe("same")
    expect(yield* check([...Gguf.tokens, ...padding(129)])).toContain("has 137 tokens, not 8")
    expect(yield* check([...Gguf.tokens.slice(0, 3), "A", ...Gguf.tokens.slice(4)])).toContain("has other tokens")
    expect(yield* check(Gguf.tokens.toReversed())).toContain("take a small model of the same family")
  })
)

it.live("a draft model takes its file and the cells of every slot, as far as its own context goes", () =>
  Effect.gen(function* () {
    const draft = yield* ModelFile.open(models.nano)
    const { contextTokens } = draft.header
    const taken = (wanted: number, slots: number) => DraftFile.bytesNeeded(draft, { contextTokens: wanted, slots })
    expect(taken(256, 2)).toBe(StageMemory.bytesNeeded({ ...draft, contextTokens: 256, slots: 2 }))
    expect(taken(contextTokens * 9, 4)).toBe(taken(contextTokens, 4))
    expect(taken(256, 2)).toBeGreaterThan(draft.sizeBytes)
    yield* DraftFile.check(draft, yield* ModelFile.open(models.small))
  })
)
