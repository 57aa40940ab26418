/**
 * What is asked of a model and what it answers: the same values travel from the entry to a peer (one stream per
 * request) and from the peer to its engine host (IPC). Text of users goes nowhere else.
 */
import { Schema } from "effect"

/** Most characters of one prompt or message, and of all messages together. */
export const promptCharactersMax = 4 * 1024 * 1024
/** Most messages of one chat. */
export const messagesMax = 4096
/** Most stop strings of one request. */
export const stopStringsMax = 16
/** Most characters of one stop string. */
export const stopCharactersMax = 256
/** Most tokens with a logit bias. */
export const logitBiasMax = 1024

/** Represents one message of a chat; `content` is plain text. */
export const ChatMessage = Schema.Struct({
  role: Schema.Literal("system", "user", "assistant", "tool"),
  content: Schema.String.pipe(Schema.maxLength(promptCharactersMax))
})
export type ChatMessage = typeof ChatMessage.Type

/** Represents the start of an answer: a chat for the model's own template, text as it is, or tokens as they are. */
export const Prompt = Schema.Union(
  Schema.TaggedStruct("Chat", { messages: Schema.Array(ChatMessage).pipe(Schema.maxItems(messagesMax)) }),
  Schema.TaggedStruct("Text", { text: Schema.String.pipe(Schema.maxLength(promptCharactersMax)) }),
  Schema.TaggedStruct("Tokens", { tokens: Schema.Array(Schema.Int).pipe(Schema.maxItems(1_048_576)) })
)
export type Prompt = typeof Prompt.Type

const finite = Schema.Number.pipe(Schema.finite())

/** Represents how the next token is drawn; every field is set (the entry fills the defaults of the OpenAI API). */
export const Sampling = Schema.Struct({
  /** 0 is greedy. */
  temperature: finite.pipe(Schema.between(0, 2)),
  /** 0 is off. */
  topK: Schema.Int.pipe(Schema.between(0, 1_000_000)),
  /** 1 is off. */
  topP: finite.pipe(Schema.between(0, 1)),
  /** 0 is off. */
  minP: finite.pipe(Schema.between(0, 1)),
  /** 1 is off. */
  repeatPenalty: finite.pipe(Schema.between(0.1, 2)),
  frequencyPenalty: finite.pipe(Schema.between(-2, 2)),
  presencePenalty: finite.pipe(Schema.between(-2, 2)),
  /** 32 bits; the peer draws one where it is absent and reports it in `Started`. */
  seed: Schema.optional(Schema.Int.pipe(Schema.between(0, 0xffff_ffff))),
  /** `[token, bias]`, bias in −100…100. */
  logitBias: Schema.Array(Schema.Tuple(Schema.Int, finite.pipe(Schema.between(-100, 100)))).pipe(
    Schema.maxItems(logitBiasMax)
  )
})
export type Sampling = typeof Sampling.Type

/** Takes the likeliest token, nothing else. */
export const greedy: Sampling = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repeatPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  logitBias: []
}

/**
 * Represents the beginning of an answer that was given elsewhere already: the answer goes on after it as if it had
 * never been interrupted. Its tokens count as completion tokens in the usage, and are in no `Delta`.
 */
export const Resume = Schema.Struct({
  /** Every token that a `Delta` held so far, in order. */
  tokens: Schema.Array(Schema.Int).pipe(Schema.maxItems(1_048_576)),
  /** UTF-16 units of text that came with them; the text of the last tokens may still be owed. */
  textLength: Schema.NonNegativeInt
})
export type Resume = typeof Resume.Type

/**
 * Represents how exact an answer must be. `fast`: the last bits of logits may differ with what else runs. `exact`:
 * the same tokens whatever else runs, on whichever peer, also across a resumption.
 */
export const Profile = Schema.Literal("fast", "exact")
export type Profile = typeof Profile.Type

/** Represents one request for one answer. */
export const GenerateRequest = Schema.Struct({
  requestId: Schema.String.pipe(Schema.maxLength(128)),
  model: Schema.String.pipe(Schema.maxLength(256)),
  prompt: Prompt,
  sampling: Sampling,
  /** Most tokens of the answer; absent: up to the end of the context. */
  maxTokens: Schema.optional(Schema.Int.pipe(Schema.positive())),
  /** The answer ends before the first of these that appears in it. */
  stop: Schema.Array(Schema.String.pipe(Schema.minLength(1), Schema.maxLength(stopCharactersMax))).pipe(
    Schema.maxItems(stopStringsMax)
  ),
  /** The answer goes on where the model would end it, up to `maxTokens`: it is timed, and not read. */
  ignoresEnd: Schema.optional(Schema.Boolean),
  /** The peer's own choice where it is absent. */
  profile: Schema.optional(Profile),
  resume: Schema.optional(Resume)
})
export type GenerateRequest = typeof GenerateRequest.Type

/** Represents why an answer could not be given or finished; `code` is the OpenAI error code where there is one. */
export const GenerateFailure = Schema.Struct({
  code: Schema.Literal(
    "context_length_exceeded",
    "invalid_request",
    "model_not_found",
    "overloaded",
    "engine_lost",
    "cancelled",
    "shutting_down",
    "internal"
  ),
  message: Schema.String.pipe(Schema.maxLength(1024)),
  /** Name of the request's field at fault. */
  param: Schema.optional(Schema.String.pipe(Schema.maxLength(64)))
})
export type GenerateFailure = typeof GenerateFailure.Type

/** Represents what an answer used, in tokens. */
export const Usage = Schema.Struct({
  promptTokens: Schema.NonNegativeInt,
  completionTokens: Schema.NonNegativeInt,
  /** Part of the prompt whose KV cells were still there. */
  cachedTokens: Schema.NonNegativeInt
})
export type Usage = typeof Usage.Type

/**
 * Represents one step of an answer. Order: `Started`, any number of `Delta`, then one `Finished` or `Failed`;
 * `Failed` may also come first. A `Delta` holds whole characters; its text may lag its tokens, as a character can
 * span tokens and a possible beginning of a stop string is held back.
 */
export const GenerateEvent = Schema.Union(
  Schema.TaggedStruct("Started", { promptTokens: Schema.NonNegativeInt, seed: Schema.Int }),
  Schema.TaggedStruct("Delta", { text: Schema.String, tokens: Schema.Array(Schema.Int) }),
  Schema.TaggedStruct("Finished", { finishReason: Schema.Literal("stop", "length"), usage: Usage }),
  Schema.TaggedStruct("Failed", { failure: GenerateFailure })
)
export type GenerateEvent = typeof GenerateEvent.Type

/** Represents the last event of an answer. */
export type LastEvent = Extract<GenerateEvent, { readonly _tag: "Finished" | "Failed" }>

/** Returns whether nothing follows this event. */
export const isLast = (event: GenerateEvent): event is LastEvent => event._tag === "Finished" || event._tag === "Failed"
