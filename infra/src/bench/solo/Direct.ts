/** The process that drives the library directly: one model, answered for by a plain loop or by the batch loop alone. */
import * as NativeBaseline from "@weft/engine/NativeBaseline"
import { serve } from "../Programs.ts"

/** Represents what is asked of it; `Open` comes first and once. */
export type DirectQuestion =
  | {
      readonly kind: "open"
      readonly path: string
      readonly contextTokens: number
      readonly slots: number
      readonly threads: number
    }
  /** One answer by a plain loop. */
  | { readonly kind: "one"; readonly prompt: string; readonly maxTokens: number }
  /** All answers at once by the batch loop. */
  | { readonly kind: "all"; readonly prompts: ReadonlyArray<string>; readonly maxTokens: number }

/** Represents what was measured; milliseconds from the start. */
export interface DirectReply {
  readonly promptTokens: number
  readonly tokens: number
  readonly firstMs: number
  readonly lastMs: number
}

let model: NativeBaseline.NativeBaseline | undefined

serve((question: DirectQuestion): DirectReply => {
  if (question.kind === "open") {
    model = NativeBaseline.open(question)
    return { promptTokens: 0, tokens: 0, firstMs: 0, lastMs: 0 }
  }
  if (model === undefined) throw new Error("open a model first")
  return question.kind === "one" ? one(model, question) : all(model, question)
})

// internal

function one(
  model: NativeBaseline.NativeBaseline,
  { maxTokens, prompt }: { readonly prompt: string; readonly maxTokens: number }
): DirectReply {
  const promptTokens = model.tokenize(prompt)
  const startedMs = performance.now()
  let firstMs = 0
  let lastMs = 0
  const drawn = model.answer(promptTokens, maxTokens, () => {
    lastMs = performance.now() - startedMs
    if (firstMs === 0) firstMs = lastMs
  })
  return { promptTokens: promptTokens.length, tokens: drawn.length, firstMs, lastMs }
}

function all(
  model: NativeBaseline.NativeBaseline,
  { maxTokens, prompts }: { readonly prompts: ReadonlyArray<string>; readonly maxTokens: number }
): DirectReply {
  const tokenized = prompts.map(model.tokenize)
  const startedMs = performance.now()
  const counts = model.answerAll(tokenized, maxTokens)
  const lastMs = performance.now() - startedMs
  return {
    promptTokens: tokenized.reduce((sum, { length }) => sum + length, 0),
    tokens: counts.reduce((sum, count) => sum + count, 0),
    firstMs: Number.NaN,
    lastMs
  }
}
