/** What can go wrong with an answer, as its reader is told: what happened, and what to do. Pure. */
import { field, parse, textOf } from "./internal/json.ts"

/** Represents an answer that failed, wholly or in its middle. */
export interface ChatFailure {
  readonly kind: FailureKind
  /** What the entry said; undefined where it said nothing that can be read. */
  readonly said: string | undefined
  /** When asking again makes sense, milliseconds since 1970; undefined where the entry does not say. */
  readonly retryAtMs: number | undefined
}

/** What is at fault, as far as it decides what the reader can do. */
export type FailureKind = "key" | "limit" | "busy" | "gone" | "long" | "unreachable" | "broken" | "refused"

/** Returns the failure that a refused request is. `retryAfter` is the header: seconds. */
export const ofResponse = (status: number, retryAfter: string | null, body: string, nowMs: number): ChatFailure => {
  const error = field(parse(body), "error")
  const seconds = Number(retryAfter ?? Number.NaN)
  return {
    kind: kindOf(status, field(error, "code")),
    said: textOf(field(error, "message"), saidLengthMax),
    retryAtMs: seconds > 0 && seconds <= retrySecondsMax ? nowMs + seconds * 1_000 : undefined
  }
}

/** Returns the failure that an error within a stream is. */
export const ofEvent = (error: unknown): ChatFailure => ({
  kind: field(error, "code") === "context_length_exceeded" ? "long" : "broken",
  said: textOf(field(error, "message"), saidLengthMax),
  retryAtMs: undefined
})

/** Returns a failure that nobody said anything about. */
export const silent = (kind: FailureKind): ChatFailure => ({ kind, said: undefined, retryAtMs: undefined })

/** Represents a failure in words. */
export interface FailureWords {
  readonly happened: string
  readonly cure: string
}

/** Returns the words; `hasKey` where the request had one, `hasText` where some of the answer came. */
export const wordsOf = (
  { kind, retryAtMs, said }: ChatFailure,
  { hasKey, hasText }: { readonly hasKey: boolean; readonly hasText: boolean }
): FailureWords => {
  switch (kind) {
    case "key":
      return hasKey
        ? { happened: "The entry does not take this key.", cure: "Look whether it is whole, or ask its owner for one." }
        : {
            happened: "This entry asks for a key.",
            cure: "Its owner gives them out. With yours the question is asked."
          }
    case "limit":
      return {
        happened: "The limit of this key is reached.",
        cure: retryAtMs === undefined ? (said ?? "Wait a minute.") : "It counts by the minute."
      }
    case "busy":
      return { happened: "The mesh is busy.", cure: said ?? "Ask again in a moment, or choose another model." }
    case "gone":
      return { happened: "Nobody serves this model now.", cure: "Choose another one, or ask again later." }
    case "long":
      return {
        happened: "The conversation is longer than the model can read.",
        cure: `${said === undefined ? "" : `${said} `}Begin a new chat, or ask a model with a larger context.`
      }
    case "unreachable":
      return {
        happened: "The entry cannot be reached.",
        cure: "Look whether it runs and you are online, then ask again. What was said stays here."
      }
    case "broken":
      return hasText
        ? { happened: "The answer broke off.", cure: `${said ?? "Ask again for a whole one."} What came stays.` }
        : { happened: "The answer failed.", cure: said ?? "Ask again." }
    case "refused":
      return { happened: "The entry refused the question.", cure: said ?? "Ask again, or choose another model." }
  }
}

// internal

/** As the entry bounds its own messages. */
const saidLengthMax = 1_024

/** A day: what is later is no time to wait for at a page. */
const retrySecondsMax = 86_400

const kindOf = (status: number, code: unknown): FailureKind => {
  if (status === 401) return "key"
  if (code === "model_not_found" || code === "no_peer") return "gone"
  if (code === "context_length_exceeded" || status === 413) return "long"
  // no waiting helps against a quota that one question exceeds
  if (status === 429) return code === "insufficient_quota" ? "refused" : "limit"
  if (status === 503) return "busy"
  return status >= 500 ? "broken" : "refused"
}
