/** What a decoded request asks for, whichever address it came to. */
import type { GenerateRequest, Profile, Prompt } from "@weft/engine/Generation"
import { Either } from "effect"
import type { ServedModel } from "../Inference.ts"
import { type ApiError, invalidRequest } from "../OpenAiError.ts"
import { isAbsent, type Shared, toSampling, toStop } from "./RequestField.ts"

/** Represents a request for one answer; the rest of a `GenerateRequest` is known once the model is. */
export interface Asked {
  readonly model: string
  readonly prompt: Prompt
  /** Characters of the prompt, or tokens × 4 where it is tokens: what its token count is estimated from. */
  readonly promptCharacters: number
  readonly sampling: ReturnType<typeof toSampling>
  readonly stop: ReadonlyArray<string>
  /** Most tokens of the answer; any size, the context bounds it. */
  readonly maxTokens: number | undefined
  readonly stream: boolean
  readonly includeUsage: boolean
}

/** Makes what is asked from the shared fields and the prompt. */
export const make = (
  fields: Shared,
  prompt: Prompt,
  promptCharacters: number,
  maxTokens: number | undefined
): Either.Either<Asked, ApiError> => {
  const stream = fields.stream ?? false
  if (!stream && !isAbsent(fields.stream_options)) {
    return Either.left(
      invalidRequest("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    )
  }
  return Either.right({
    model: fields.model,
    prompt,
    promptCharacters,
    sampling: toSampling(fields),
    stop: toStop(fields.stop),
    maxTokens,
    stream,
    includeUsage: fields.stream_options?.include_usage ?? false
  })
}

/** Returns what a request is charged in advance: tokens of its prompt, and of its answer. */
export const estimate = (
  asked: Asked,
  served: ServedModel | undefined
): readonly [promptTokens: number, answerTokens: number] => [
  Math.ceil(asked.promptCharacters / charactersPerToken),
  Math.min(asked.maxTokens ?? answerTokensExpected, served?.description.contextTokens ?? answerTokensExpected)
]

/**
 * Returns the request for a peer. More tokens than a context holds are as many as fit: such an answer ends with
 * `length`, as other servers do.
 */
export const toRequest = (
  asked: Asked,
  requestId: string,
  served: ServedModel | undefined,
  profile: Profile | undefined
): GenerateRequest => ({
  requestId,
  model: asked.model,
  prompt: asked.prompt,
  sampling: asked.sampling,
  stop: asked.stop,
  ...(asked.maxTokens === undefined
    ? {}
    : { maxTokens: Math.min(asked.maxTokens, served?.description.contextTokens ?? asked.maxTokens) }),
  ...(profile === undefined ? {} : { profile })
})

// internal

/** Tokens that an answer without a bound is expected to have; settled when it ends. */
const answerTokensExpected = 256
/** Characters of a token, on average over English text and common vocabularies. */
const charactersPerToken = 4
