/** The body of `POST /v1/completions`: its schema, what of the OpenAI API is refused, and what it asks for. */
import { type Prompt, promptCharactersMax } from "@weft/engine/Generation"
import { Either, Schema } from "effect"
import type { ApiError } from "../OpenAiError.ts"
import * as Asked from "./Asked.ts"
import type { JsonObject } from "./RequestBody.ts"
import {
  decode,
  field,
  hasSharedFields,
  isArrayOfAtMost,
  isOneOf,
  isText,
  sharedFields,
  type Unsupported
} from "./RequestField.ts"

/** Tokens of an answer whose request names no number; the OpenAI API's default for this address. */
const maxTokensDefault = 16
/** Most tokens of a prompt that is given as tokens, as `Prompt` has it. */
const promptTokensMax = 1_048_576

const isPromptText = isText(promptCharactersMax)

const isToken = (value: unknown): value is number =>
  Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 0x7fff_ffff

const isTokens = (value: unknown): value is ReadonlyArray<number> =>
  isArrayOfAtMost(promptTokensMax, 1)(value) && value.every(isToken)

/** A prompt as text or tokens, or a list with one of either. */
type PromptField = string | ReadonlyArray<number> | readonly [string | ReadonlyArray<number>]

const isPrompt = (value: unknown): value is PromptField =>
  isPromptText(value) ||
  isTokens(value) ||
  (Array.isArray(value) && value.length === 1 && (isPromptText(value[0]) || isTokens(value[0])))

const CompletionBody = Schema.Struct({
  ...sharedFields,
  prompt: field(isPrompt, "one prompt: a string, an array of token ids, or an array with one of either")
})

type CompletionBody = typeof CompletionBody.Type

const isPlain = (body: JsonObject): body is JsonObject & CompletionBody =>
  hasSharedFields(body) && isPromptText(body["prompt"])

/** What the OpenAI API knows and this one refuses rather than ignores. */
const unsupported: Readonly<Record<string, Unsupported>> = {
  n: { harmless: (value) => value === 1, instead: "Send one request per answer." },
  best_of: { harmless: (value) => value === 1, instead: "Send one request per answer." },
  echo: { harmless: (value) => value === false, instead: "Put the prompt in front of the answer yourself." },
  suffix: { harmless: isOneOf(""), instead: "Leave it out." },
  logprobs: { harmless: () => false, instead: "Leave it out." }
}

const decodeBody = decode(CompletionBody, unsupported, isPlain)

/** Returns what a completion body asks for. */
export const fromBody = (body: JsonObject): Either.Either<Asked.Asked, ApiError> =>
  Either.flatMap(decodeBody(body), (completion) => {
    const prompt = toPrompt(completion.prompt)
    const characters = prompt._tag === "Text" ? prompt.text.length : prompt.tokens.length * 4
    return Asked.make(completion, prompt, characters, completion.max_tokens ?? maxTokensDefault)
  })

// internal

const toPrompt = (prompt: PromptField): Exclude<Prompt, { readonly _tag: "Chat" }> => {
  if (typeof prompt === "string") return { _tag: "Text", text: prompt }
  const first = prompt[0]
  return typeof first === "string" || typeof first === "object"
    ? toPrompt(first)
    : { _tag: "Tokens", tokens: prompt.filter((token) => typeof token === "number") }
}
