/** The body of `POST /v1/chat/completions`: its schema, what of the OpenAI API is refused, and what it asks for. */
import { type ChatMessage, messagesMax, promptCharactersMax } from "@weft/engine/Generation"
import { Either, Schema } from "effect"
import { type ApiError, invalidRequest } from "../OpenAiError.ts"
import * as Asked from "./Asked.ts"
import type { JsonObject } from "./RequestBody.ts"
import {
  decode,
  field,
  hasSharedFields,
  isAbsent,
  isAbsentOr,
  isArrayOfAtMost,
  isCount,
  isEmptyArray,
  isOneOf,
  isText,
  sharedFields,
  type Unsupported
} from "./RequestField.ts"

/** Most parts of one message; real ones have a handful. */
const partsMax = 1024

const Part = Schema.Struct({
  type: field(isOneOf("text"), "the type 'text', as these models read text alone"),
  text: field(isText(promptCharactersMax), `text of at most ${promptCharactersMax} characters`)
})

const partsExpected = `an array of at most ${partsMax} text parts`
const contentExpected = `at most ${promptCharactersMax} characters of text or ${partsExpected}`

const isRole = isOneOf("system", "developer", "user", "assistant", "tool")
const isContent = isText(promptCharactersMax)

const Message = Schema.Struct({
  role: field(isRole, "'system', 'developer', 'user', 'assistant' or 'tool'"),
  content: Schema.Union(
    field(isContent, contentExpected),
    Schema.compose(field(isArrayOfAtMost(partsMax), contentExpected), Schema.Array(Part), { strict: false })
  ),
  tool_calls: Schema.optional(
    field((value): value is unknown => isAbsent(value) || isEmptyArray(value), "none, as tools are not supported")
  )
})

const isMessages = isArrayOfAtMost(messagesMax, 1)
const messagesExpected = `an array of 1 to ${messagesMax} messages`

const ChatBody = Schema.Struct({
  ...sharedFields,
  messages: Schema.compose(field(isMessages, messagesExpected), Schema.Array(Message), {
    strict: false
  }),
  max_completion_tokens: sharedFields.max_tokens
})
type ChatBody = typeof ChatBody.Type

const isPlainMessage = (value: unknown): boolean =>
  typeof value === "object" &&
  value !== null &&
  "role" in value &&
  isRole(value.role) &&
  "content" in value &&
  isContent(value.content) &&
  !("tool_calls" in value)

/** Accepts chats whose messages are plain texts: nearly all. */
const isPlain = (body: JsonObject): body is JsonObject & ChatBody =>
  hasSharedFields(body) &&
  isAbsentOr(isCount, body["max_completion_tokens"]) &&
  isMessages(body["messages"]) &&
  body["messages"].every(isPlainMessage)

const isTextFormat = (value: unknown): boolean =>
  typeof value === "object" && value !== null && "type" in value && value.type === "text"

const withoutTools = "Describe the tools in the messages and read the answer's text."

/** What the OpenAI API knows and this one refuses rather than ignores. */
const unsupported: Readonly<Record<string, Unsupported>> = {
  n: { harmless: (value) => value === 1, instead: "Send one request per answer." },
  tools: { harmless: isEmptyArray, instead: withoutTools },
  tool_choice: { harmless: isOneOf("none", "auto"), instead: withoutTools },
  functions: { harmless: isEmptyArray, instead: withoutTools },
  function_call: { harmless: isOneOf("none", "auto"), instead: withoutTools },
  response_format: { harmless: isTextFormat, instead: "Ask for the format in the messages, or leave it out." },
  audio: { harmless: () => false, instead: "Answers are text; leave it out." },
  modalities: {
    harmless: (value) => Array.isArray(value) && value.every((modality) => modality === "text"),
    instead: 'Answers are text; send ["text"] or leave it out.'
  },
  logprobs: { harmless: (value) => value === false, instead: "Leave it out." },
  top_logprobs: { harmless: (value) => value === 0, instead: "Leave it out." },
  prediction: { harmless: () => false, instead: "Leave it out." },
  web_search_options: { harmless: () => false, instead: "Models here search nothing; leave it out." }
}

const decodeBody = decode(ChatBody, unsupported, isPlain)

/** Returns what a chat body asks for. */
export const fromBody = (body: JsonObject): Either.Either<Asked.Asked, ApiError> =>
  Either.flatMap(decodeBody(body), (chat) => {
    const messages = chat.messages.map(
      ({ role, content }): ChatMessage => ({
        role: role === "developer" ? "system" : role,
        content: typeof content === "string" ? content : content.map((part) => part.text).join("\n")
      })
    )
    const characters = messages.reduce((sum, { content }) => sum + content.length, 0)
    if (characters > promptCharactersMax) {
      return Either.left(
        invalidRequest(
          `The messages hold ${characters} characters, more than ${promptCharactersMax}. Shorten them.`,
          "messages",
          "context_length_exceeded"
        )
      )
    }
    const maxTokens = chat.max_completion_tokens ?? chat.max_tokens ?? undefined
    return Asked.make(chat, { _tag: "Chat", messages }, characters, maxTokens)
  })
