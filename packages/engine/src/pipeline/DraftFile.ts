/**
 * The file of a draft model: whether it can guess for another model, and what it takes. Tokens are numbers on the wire,
 * so the two must have the same ones; the lists in the files are compared byte for byte.
 */
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import { Data, Effect } from "effect"
import { unreadable } from "../GgufSource.ts"
import type { ModelFile } from "../ModelFile.ts"
import * as StageMemory from "./StageMemory.ts"

/** Represents a model that cannot guess for another one; the message says why. */
export class DraftRefused extends Data.TaggedError("DraftRefused")<{ readonly message: string }> {}

/**
 * Most tokens that one of two lists may have more at its end: models of one family are padded to different lengths, and
 * these are never said. The bound is llama.cpp's own for draft models.
 */
const paddingTokensMax = 128

/** Succeeds where `draft` has the tokens of `model`; reads both lists, which are some megabytes. */
export const check = (draft: ModelFile, model: ModelFile): Effect.Effect<void, DraftRefused> =>
  Effect.gen(function* () {
    const [own, other] = [draft.header.vocabularySize, model.header.vocabularySize]
    if (Math.abs(own - other) > paddingTokensMax) return yield* refused(draft, `has ${own} tokens, not ${other}`)
    const [ownBytes, otherBytes] = yield* Effect.all([tokenList(draft), tokenList(model)])
    const length = Math.min(ownBytes.length, otherBytes.length)
    if (length > 0 && Buffer.compare(ownBytes.subarray(0, length), otherBytes.subarray(0, length)) === 0) return
    return yield* refused(draft, "has other tokens than the model that it is to guess for")
  })

/** Returns the tokens of each slot: those of the model it guesses for, or fewer where it was trained for fewer. */
export const contextTokens = (draft: ModelFile, model: Pick<ModelDescription, "contextTokens">): number =>
  Math.min(model.contextTokens, draft.header.contextTokens)

/** Returns the bytes it takes beside the first stage of the model: its file, and cells for as many answers. */
export const bytesNeeded = (draft: ModelFile, model: Pick<ModelDescription, "contextTokens" | "slots">): number => {
  const { header, sizeBytes } = draft
  return StageMemory.bytesNeeded({ header, sizeBytes, slots: model.slots, contextTokens: contextTokens(draft, model) })
}

// internal

const refused = ({ path }: ModelFile, why: string) =>
  new DraftRefused({
    message: `${path} ${why}; take a small model of the same family, whose tokenizer is the same`
  })

/** Returns the bytes of the list of tokens, each with its length before it. */
const tokenList = (file: ModelFile): Effect.Effect<Uint8Array, DraftRefused> => {
  const entry = file.header.metadata.get("tokenizer.ggml.tokens")
  if (entry?.type !== "array") return refused(file, "has no list of tokens")
  const { offset, sizeBytes } = entry.value
  return Effect.tryPromise({
    try: () =>
      Bun.file(file.path)
        .slice(offset, offset + sizeBytes)
        .bytes(),
    catch: (cause) => refused(file, `cannot be read: ${unreadable(cause).detail}`)
  })
}
