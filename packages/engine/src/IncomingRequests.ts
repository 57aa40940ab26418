/**
 * Requests whose prompts are not tokenised yet, on their way into a host: as many as a turn has time for are made ready
 * before it, oldest first. Owned by the host, whose model's vocabulary and chat template it uses.
 */
import { Effect, Either, Random } from "effect"
import type { KeyedEvent, PreparedRequest } from "./BatchLoop.ts"
import * as ChatTemplate from "./ChatTemplate.ts"
import type { GenerateFailure, GenerateRequest, Prompt } from "./Generation.ts"
import type { LlamaText } from "./internal/llama/LlamaText.ts"
import * as PromptTokens from "./PromptTokens.ts"

/** Represents the requests that wait to be made ready. */
export interface IncomingRequests {
  readonly isEmpty: () => boolean
  readonly add: (key: number, request: GenerateRequest) => void
  /** Drops a request; nothing happens where it does not wait. */
  readonly drop: (key: number) => void
  /** Makes some ready and hands them to `take`; returns the failures of others. */
  readonly prepareSome: (take: (key: number, prepared: PreparedRequest) => void) => ReadonlyArray<KeyedEvent>
}

/** Returns the requests of a host whose slots hold `contextTokens`, none yet. */
export const make = (text: LlamaText, contextTokens: number): IncomingRequests => new Incoming(text, contextTokens)

// internal

class Incoming implements IncomingRequests {
  readonly #template: Effect.Effect<ChatTemplate.ChatTemplate, GenerateFailure>
  /** Oldest first. */
  readonly #waiting = new Map<number, GenerateRequest>()

  constructor(
    private readonly text: LlamaText,
    private readonly contextTokens: number
  ) {
    this.#template = Effect.runSync(Effect.cached(compileTemplate(text)))
  }

  isEmpty(): boolean {
    return this.#waiting.size === 0
  }

  add(key: number, request: GenerateRequest): void {
    this.#waiting.set(key, request)
  }

  drop(key: number): void {
    this.#waiting.delete(key)
  }

  prepareSome(take: (key: number, prepared: PreparedRequest) => void): ReadonlyArray<KeyedEvent> {
    const refused: Array<KeyedEvent> = []
    let characters = 0
    for (const [key, request] of this.#waiting) {
      if (characters >= preparedCharactersMax) break
      this.#waiting.delete(key)
      characters += promptCharacters(request.prompt)
      const preparing = prepareRequest(request, this.text, this.#template, this.contextTokens)
      const prepared = Effect.runSync(Effect.either(preparing))
      if (Either.isRight(prepared)) take(key, prepared.right)
      else refused.push([key, { _tag: "Failed", failure: prepared.left }])
    }
    return refused
  }
}

/** Prompt characters after which a turn tokenises no further prompt: llama.cpp takes some 10 ms for as many. */
const preparedCharactersMax = 64 * 1024

const promptCharacters = (prompt: Prompt): number => {
  switch (prompt._tag) {
    case "Chat":
      return prompt.messages.reduce((sum, { content }) => sum + content.length, 0)
    case "Text":
      return prompt.text.length
    case "Tokens":
      return prompt.tokens.length
  }
}

const compileTemplate = (text: LlamaText) =>
  ChatTemplate.compile(text.chatTemplate, {
    bosToken: text.beginText,
    eosToken: text.endText,
    controlTokens: text.controlTokens.map(({ text }) => text)
  }).pipe(
    Effect.mapError(
      (error): GenerateFailure => ({
        code: "invalid_request",
        message: error.message.slice(0, 1024),
        param: "messages"
      })
    )
  )

const prepareRequest = Effect.fnUntraced(function* (
  request: GenerateRequest,
  text: LlamaText,
  template: Effect.Effect<ChatTemplate.ChatTemplate, GenerateFailure>,
  contextTokens: number
) {
  const stranger = request.sampling.logitBias.find(([token]) => token < 0 || token >= text.vocabularyTokens)
  if (stranger !== undefined) {
    const message = `logit_bias names token ${stranger[0]}; this model has ${text.vocabularyTokens} tokens.`
    return yield* Effect.fail<GenerateFailure>({ code: "invalid_request", message, param: "logit_bias" })
  }
  const prompt = yield* PromptTokens.make(request.prompt, text, template, contextTokens)
  const seed = request.sampling.seed ?? (yield* Random.nextIntBetween(0, 0xffff_ffff))
  return { request, prompt, seed } satisfies PreparedRequest
})
