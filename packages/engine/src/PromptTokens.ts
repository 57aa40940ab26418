/**
 * Turns a prompt into tokens such that control tokens come from the model's chat template alone, never from a user.
 */
import { Effect } from "effect"
import type { ChatTemplate, TemplatePiece } from "./ChatTemplate.ts"
import type { GenerateFailure, Prompt } from "./Generation.ts"
import type { ControlToken } from "./internal/llama/LlamaText.ts"

/** Represents what tokenising needs of a model. */
export interface Vocabulary {
  readonly vocabularyTokens: number
  readonly firstToken: number | undefined
  readonly controlTokens: ReadonlyArray<ControlToken>
  readonly pieceBytesMax: number
  readonly tokenize: (text: string, control: boolean) => Int32Array
}

/**
 * Returns the tokens of `prompt`, at least one and at most `contextTokens - 1` so that an answer fits. Fails with the
 * client's mistake: an empty prompt, a token that does not exist, a chat its template refuses, a prompt too long.
 */
export const make = Effect.fnUntraced(function* (
  prompt: Prompt,
  vocabulary: Vocabulary,
  template: Effect.Effect<ChatTemplate, GenerateFailure>,
  contextTokens: number
) {
  const param = prompt._tag === "Chat" ? "messages" : "prompt"
  if (prompt._tag === "Tokens")
    return yield* checked(withTokens(prompt.tokens, vocabulary, param), contextTokens, param)
  const pieces: ReadonlyArray<TemplatePiece> =
    prompt._tag === "Text" ? [{ text: prompt.text, special: false }] : yield* render(prompt, yield* template)
  // Tokenising is linear but not free: what cannot fit by its bytes is not tokenised.
  const bytes = pieces.reduce((sum, piece) => sum + Buffer.byteLength(piece.text), 0)
  const tokensLeast = Math.ceil(bytes / vocabulary.pieceBytesMax)
  if (tokensLeast >= contextTokens) return yield* Effect.fail(tooLong(`at least ${tokensLeast}`, contextTokens, param))
  return yield* checked(Effect.succeed(tokenize(pieces, vocabulary)), contextTokens, param)
})

/**
 * Returns the tokens of template pieces; white space goes where the model's own tokeniser lets a control token eat
 * it.
 */
export const tokenize = (pieces: ReadonlyArray<TemplatePiece>, vocabulary: Vocabulary): ReadonlyArray<number> => {
  const control = new Map(vocabulary.controlTokens.map((entry) => [entry.token, entry]))
  const tokenized = pieces.map(({ special, text }) => (special ? vocabulary.tokenize(text, true) : text))
  const tokens: Array<number> = []
  for (const [index, part] of tokenized.entries()) {
    if (typeof part !== "string") {
      for (const token of part) tokens.push(token)
      continue
    }
    const before = tokenized[index - 1]
    const after = tokenized[index + 1]
    const eatenBefore = typeof before === "object" && control.get(before.at(-1) ?? -1)?.stripRight === true
    const eatenAfter = typeof after === "object" && control.get(after[0] ?? -1)?.stripLeft === true
    const left = eatenBefore ? part.trimStart() : part
    for (const token of vocabulary.tokenize(eatenAfter ? left.trimEnd() : left, false)) tokens.push(token)
  }
  const { firstToken } = vocabulary
  if (firstToken !== undefined && tokens[0] !== firstToken) tokens.unshift(firstToken)
  return tokens
}

// internal

const render = (prompt: Extract<Prompt, { readonly _tag: "Chat" }>, template: ChatTemplate) =>
  template
    .render(prompt.messages, { addGenerationPrompt: true })
    .pipe(Effect.mapError((error) => failure("invalid_request", error.message, "messages")))

const withTokens = (tokens: ReadonlyArray<number>, vocabulary: Vocabulary, param: string) => {
  const wrong = tokens.find((token) => token < 0 || token >= vocabulary.vocabularyTokens)
  if (wrong === undefined) return Effect.succeed(tokens)
  const message = `Token ${wrong} does not exist: this model has ${vocabulary.vocabularyTokens} tokens.`
  return Effect.fail(failure("invalid_request", message, param))
}

const checked = (tokens: Effect.Effect<ReadonlyArray<number>, GenerateFailure>, contextTokens: number, param: string) =>
  Effect.filterOrFail(
    Effect.filterOrFail(
      tokens,
      (found) => found.length > 0,
      () => failure("invalid_request", "The prompt is empty. Send some text.", param)
    ),
    (found) => found.length < contextTokens,
    (found) => tooLong(String(found.length), contextTokens, param)
  )

const tooLong = (promptTokens: string, contextTokens: number, param: string): GenerateFailure => {
  const message =
    `This model's maximum context length is ${contextTokens} tokens, but your ${param} resulted in ${promptTokens} ` +
    `tokens. Please reduce the length of the ${param}.`
  return failure("context_length_exceeded", message, param)
}

/** Most characters of a message: the bound of its schema. */
const messageCharactersMax = 1024

const failure = (code: GenerateFailure["code"], message: string, param: string): GenerateFailure => ({
  code,
  message: message.slice(0, messageCharactersMax),
  param
})
