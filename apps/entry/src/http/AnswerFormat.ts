/**
 * How an answer is written: as one object, and as the events of a stream. What all events of a stream share is made
 * once, so that a token costs one `JSON.stringify` of its text.
 */
import type { Usage } from "@weft/engine/Generation"

/** Why an answer ended, in the words of the OpenAI API. */
export type FinishReason = "stop" | "length"

/** Represents what one answer is called. */
export interface AnswerHead {
  readonly requestId: string
  readonly createdSeconds: number
  readonly model: string
  /** Names the model's file: `fp_` and the start of its SHA-256; null where it is not known. */
  readonly fingerprint: string | null
}

/** Writes the events of one stream, each ready to be sent. */
export interface EventWriter {
  /** Goes in front of the first text. */
  readonly first: string
  readonly delta: (text: string) => string
  /** The last event with a choice, then the usage where it was asked for, then the end of the stream. */
  readonly last: (reason: FinishReason, usage: Usage) => string
}

/** Represents one shape of answers. */
export interface AnswerFormat {
  /** Returns the whole answer as JSON. */
  readonly whole: (head: AnswerHead, text: string, reason: FinishReason, usage: Usage) => string
  readonly events: (head: AnswerHead, includeUsage: boolean) => EventWriter
}

/** Answers of `POST /v1/chat/completions`. */
export const chat: AnswerFormat = {
  whole: (head, content, reason, usage) =>
    JSON.stringify({
      ...fieldsOf(head, "chatcmpl", "chat.completion"),
      choices: [
        { index: 0, message: { role: "assistant", content, refusal: null }, logprobs: null, finish_reason: reason }
      ],
      usage: usageOf(usage)
    }),
  events: (head, includeUsage) =>
    writer(
      fieldsOf(head, "chatcmpl", "chat.completion.chunk"),
      includeUsage,
      (delta, reason) => `{"index":0,"delta":{${delta}},"logprobs":null,"finish_reason":${reason}}`,
      (text) => `"content":${text}`,
      `"role":"assistant","content":"","refusal":null`
    )
}

/** Answers of `POST /v1/completions`. */
export const completion: AnswerFormat = {
  whole: (head, text, reason, usage) =>
    JSON.stringify({
      ...fieldsOf(head, "cmpl", "text_completion"),
      choices: [{ text, index: 0, logprobs: null, finish_reason: reason }],
      usage: usageOf(usage)
    }),
  events: (head, includeUsage) =>
    writer(
      fieldsOf(head, "cmpl", "text_completion"),
      includeUsage,
      (text, reason) => `{"text":${text === "" ? '""' : text},"index":0,"logprobs":null,"finish_reason":${reason}}`,
      (text) => text,
      undefined
    )
}

// internal

const fieldsOf = (head: AnswerHead, idPrefix: string, object: string) => ({
  id: `${idPrefix}-${head.requestId.replace(/^req_/, "")}`,
  object,
  created: head.createdSeconds,
  model: head.model,
  system_fingerprint: head.fingerprint
})

const usageOf = (usage: Usage) => ({
  prompt_tokens: usage.promptTokens,
  completion_tokens: usage.completionTokens,
  total_tokens: usage.promptTokens + usage.completionTokens,
  prompt_tokens_details: { cached_tokens: usage.cachedTokens },
  completion_tokens_details: { reasoning_tokens: 0 }
})

/** Makes a writer from how a choice and its text are written; `opening` is the content of the event before any text. */
const writer = (
  fields: object,
  includeUsage: boolean,
  choice: (content: string, reason: string) => string,
  content: (json: string) => string,
  opening: string | undefined
): EventWriter => {
  const head = `data: ${JSON.stringify(fields).slice(0, -1)},"choices":[`
  const tail = includeUsage ? `],"usage":null}\n\n` : "]}\n\n"
  const event = (text: string, reason: string): string => `${head}${choice(text, reason)}${tail}`
  const [before, after] = event("\u0000", "null").split("\u0000")
  return {
    first: opening === undefined ? "" : event(opening, "null"),
    delta: (text) => `${before}${content(JSON.stringify(text))}${after}`,
    last: (reason, usage) => {
      const usageEvent = includeUsage ? `${head}],"usage":${JSON.stringify(usageOf(usage))}}\n\n` : ""
      return `${event("", JSON.stringify(reason))}${usageEvent}data: [DONE]\n\n`
    }
  }
}
