/** What the events of a streamed chat completion say, one `data` at a time. Pure; unknown fields are passed over. */
import * as ChatFailure from "./ChatFailure.ts"
import { field, parse } from "./internal/json.ts"

/** Represents what an event says. */
export type AnswerEvent =
  | { readonly _tag: "Text"; readonly text: string }
  /** The model ended, or a bound ended it. */
  | { readonly _tag: "Finished"; readonly reason: "stop" | "length" }
  | { readonly _tag: "Counted"; readonly tokens: number }
  | { readonly _tag: "Failed"; readonly failure: ChatFailure.ChatFailure }
  /** Nothing comes after it. */
  | { readonly _tag: "Done" }

/** Returns what one event says, in order; an event that is no JSON is a failure, as text may have been in it. */
export const ofData = (data: string): ReadonlyArray<AnswerEvent> => {
  if (data === "[DONE]") return [{ _tag: "Done" }]
  const value = parse(data)
  if (value === undefined) return [{ _tag: "Failed", failure: ChatFailure.silent("broken") }]
  const error = field(value, "error")
  if (error !== undefined && error !== null) return [{ _tag: "Failed", failure: ChatFailure.ofEvent(error) }]
  const text = field(value, "choices", 0, "delta", "content")
  const reason = field(value, "choices", 0, "finish_reason")
  const tokens = field(value, "usage", "completion_tokens")
  return [
    ...(typeof text === "string" && text !== "" ? [{ _tag: "Text", text } as const] : []),
    ...(reason === "stop" || reason === "length" ? [{ _tag: "Finished", reason } as const] : []),
    ...(typeof tokens === "number" && tokens >= 0 ? [{ _tag: "Counted", tokens } as const] : [])
  ]
}
