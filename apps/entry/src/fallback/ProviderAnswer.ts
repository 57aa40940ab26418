/**
 * A provider's stream of chunks as the events of an answer of our own: what it says is checked piece by piece, and
 * nothing of it goes out but text, the reason of the end and plausible counts. No clock, no socket; hostile until read.
 */
import * as Sse from "@effect/experimental/Sse"
import type { GenerateEvent } from "@weft/engine/Generation"
import { Data, Either, Option, Schema } from "effect"

/** Represents what a provider did wrong. */
export class ProviderFailed extends Data.TaggedError("ProviderFailed")<{
  readonly reason: ProviderFailure
  /** Of the response, where that is what is wrong. */
  readonly status?: number
}> {
  override get message(): string {
    return this.status === undefined ? advice[this.reason] : `it answered ${this.status}. ${advice[this.reason]}`
  }

  /** True where the request may be what is wrong, so that it tells nothing of the provider. */
  get isOfRequest(): boolean {
    if (this.reason === "empty") return true
    const status = this.status ?? 0
    return status >= 400 && status <= 499 && !statusesOfProvider.has(status)
  }
}

/** Why a provider's answer is none. */
export type ProviderFailure =
  | "unreachable"
  | "status"
  | "late"
  | "silent"
  | "garbage"
  | "huge"
  | "cut"
  | "empty"
  | "error"

/** Every failure. */
export const providerFailures: ReadonlyArray<ProviderFailure> = [
  "unreachable",
  "status",
  "late",
  "silent",
  "garbage",
  "huge",
  "cut",
  "empty",
  "error"
]

/** Represents the bounds of what is read. */
export interface AnswerBounds {
  readonly eventCharactersMax: number
  readonly answerBytesMax: number
}

/** Reads one answer; `events` of `feed` begin with `Started` and never hold `Failed`. */
export class ProviderAnswer {
  readonly #bounds: AnswerBounds
  readonly #promptTokens: number
  readonly #utf8 = new TextDecoder("utf-8", { fatal: true })
  readonly #parser: Sse.Parser
  #events: Array<GenerateEvent> = []
  #failure: ProviderFailure | undefined
  #sizeBytes = 0
  /** Chunks with text: providers send a token in each, and many send no usage. */
  #textChunks = 0
  #finishReason: "stop" | "length" | undefined
  #usage: typeof ProviderUsage.Type | undefined
  #isDone = false

  /** `promptTokens` is an estimate for providers that do not count. */
  constructor(promptTokens: number, bounds: AnswerBounds) {
    this.#promptTokens = promptTokens
    this.#bounds = bounds
    this.#parser = Sse.makeParser((event) => this.#event(event), { maxEventSize: bounds.eventCharactersMax })
  }

  /** True once all text is there; the usage may still come. */
  get isWhole(): boolean {
    return this.#finishReason !== undefined
  }

  /** True once nothing more is to be read. */
  get isDone(): boolean {
    return this.#isDone
  }

  /** Takes bytes; returns the events they complete. */
  feed(bytes: Uint8Array): Either.Either<ReadonlyArray<GenerateEvent>, ProviderFailed> {
    this.#sizeBytes += bytes.byteLength
    if (this.#sizeBytes > this.#bounds.answerBytesMax) return failed("huge")
    const text = Either.try(() => this.#utf8.decode(bytes, { stream: true }))
    if (Either.isLeft(text)) return failed("garbage")
    const tooLarge = this.#parser.feed(text.right)
    const failure = this.#failure ?? (tooLarge && "huge")
    // behind the end of the text nothing counts but the usage
    if (failure !== undefined && !this.isWhole) return failed(failure)
    if (failure !== undefined) this.#isDone = true
    const events = this.#events
    this.#events = []
    return Either.right(events)
  }

  /** Returns the last event where the answer is whole and has text. */
  end(): Either.Either<GenerateEvent, ProviderFailed> {
    if (this.#finishReason === undefined) return failed("cut")
    if (this.#textChunks === 0) return failed("empty")
    const { completion_tokens, prompt_tokens, prompt_tokens_details } = this.#usage ?? {
      completion_tokens: this.#textChunks,
      prompt_tokens: this.#promptTokens
    }
    const cachedTokens = Math.min(prompt_tokens_details?.cached_tokens ?? 0, prompt_tokens)
    return Either.right({
      _tag: "Finished",
      finishReason: this.#finishReason,
      usage: { promptTokens: prompt_tokens, completionTokens: completion_tokens, cachedTokens }
    })
  }

  #event(event: Sse.AnyEvent): void {
    if (event._tag !== "Event" || this.#isDone || this.#failure !== undefined) return
    if (event.data === "[DONE]") this.#isDone = true
    else this.#failure = this.#chunk(event.data)
  }

  #chunk(data: string): ProviderFailure | undefined {
    const chunk = decodeChunk(data)
    if (Either.isLeft(chunk)) return "garbage"
    const { choices, error, usage } = chunk.right
    if (error !== undefined && error !== null) return "error"
    this.#usage = Option.getOrElse(decodeUsage(usage), () => this.#usage)
    const choice = choices?.[0]
    if (choice === undefined) return choices === undefined ? "garbage" : undefined
    const text = choice.delta?.content ?? choice.text ?? ""
    if (text !== "") {
      // behind its end an answer has no text
      if (this.#finishReason !== undefined) return "garbage"
      this.#text(text)
    }
    const reason = choice.finish_reason
    if (reason !== undefined && reason !== null) this.#finishReason = reason === "length" ? "length" : "stop"
    return undefined
  }

  #text(text: string): void {
    if (this.#textChunks++ === 0) this.#events.push({ _tag: "Started", promptTokens: this.#promptTokens, seed: 0 })
    this.#events.push({ _tag: "Delta", text, tokens: oneToken })
  }
}

// internal

/** No key, no money, too late, too many: of the statuses that blame the request those that any would have got. */
const statusesOfProvider: ReadonlySet<number> = new Set([401, 402, 408, 429])

/** Which token it is nobody is told; one is counted. */
const oneToken: ReadonlyArray<number> = [0]

/** Most tokens that a usage may tell of, ten times the longest context there is: what is charged is checked. */
const tokensMax = 10_000_000

const TokenCount = Schema.Int.pipe(Schema.between(0, tokensMax))

const ProviderUsage = Schema.Struct({
  prompt_tokens: TokenCount,
  completion_tokens: TokenCount,
  prompt_tokens_details: Schema.optional(Schema.NullOr(Schema.Struct({ cached_tokens: Schema.optional(TokenCount) })))
})

const Text = Schema.optional(Schema.NullOr(Schema.String))

const Choice = Schema.Struct({
  index: Schema.optional(Schema.Literal(0)),
  delta: Schema.optional(Schema.NullOr(Schema.Struct({ content: Text }))),
  text: Text,
  finish_reason: Schema.optional(Schema.NullOr(Schema.Literal("stop", "length", "content_filter")))
})

/** Counts that make no sense are none. */
const decodeUsage = Schema.decodeUnknownOption(ProviderUsage)

/** What is read of a chunk; whatever else it holds is left there. */
const Chunk = Schema.parseJson(
  Schema.Struct({
    choices: Schema.optional(Schema.Array(Choice).pipe(Schema.maxItems(1))),
    usage: Schema.optional(Schema.Unknown),
    error: Schema.optional(Schema.Unknown)
  })
)

const decodeChunk = Schema.decodeEither(Chunk)

const failed = (reason: ProviderFailure) => Either.left(new ProviderFailed({ reason }))

const advice: Readonly<Record<ProviderFailure, string>> = {
  unreachable: "It cannot be reached: check WEFT_FALLBACK_URL and the network.",
  status: "Check WEFT_FALLBACK_KEY and the model's name in WEFT_FALLBACK_MODELS; 429 and 5xx may pass.",
  late: "Its first byte did not come in time.",
  silent: "It sent no text for too long.",
  garbage: "What it sent is no stream of an OpenAI-compatible API: check WEFT_FALLBACK_URL.",
  huge: "It sent more than an answer may have.",
  cut: "Its stream ended before its answer did.",
  empty: "Its answer has no text.",
  error: "It sent an error instead of an answer."
}
