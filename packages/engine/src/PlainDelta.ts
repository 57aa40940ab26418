/** The one event that comes with every token, told from others without a schema. */
import type { GenerateEvent } from "./Generation.ts"

/** Represents a piece of an answer. */
export type Delta = Extract<GenerateEvent, { readonly _tag: "Delta" }>

/**
 * Returns whether `value` is a `Delta` exactly as the schema would give it back: a tenth of the schema's time, and
 * nothing that the schema refuses or changes. Everything else is for the schema to judge.
 */
export const isPlainDelta = (value: unknown): value is Delta => {
  if (typeof value !== "object" || value === null) return false
  let fields = 0
  for (const _ in value) fields++
  return (
    fields === 3 &&
    "_tag" in value &&
    value._tag === "Delta" &&
    "text" in value &&
    typeof value.text === "string" &&
    "tokens" in value &&
    Array.isArray(value.tokens) &&
    value.tokens.every(Number.isSafeInteger)
  )
}
