/**
 * Whether the events of one answer are what an answer may be: `Started` first and once, never more tokens than were
 * asked for, never more text than any answer has, and a count at the end that is the number of tokens that came. Pure.
 */
import { Data } from "effect"
import { type GenerateEvent, type GenerateRequest, promptCharactersMax } from "./Generation.ts"

/** Most text of one answer: it could not be asked about again if it were longer than the longest prompt. */
const answerCharactersMax = promptCharactersMax
/** Most tokens where the request names no bound: the longest context that any model has today. */
const answerTokensMax = 1024 * 1024

/** Represents a peer that broke the order or the bounds of an answer. */
export class AnswerMalformed extends Data.TaggedError("AnswerMalformed")<{ readonly detail: string }> {
  override get message(): string {
    return `the peer's answer is malformed: ${this.detail}`
  }
}

/** Represents the judge of one answer. */
export class AnswerJudge {
  readonly #tokensMax: number
  #tokens: number
  #characters: number
  #hasStarted = false

  /** Makes the judge of the answer to `request`. */
  constructor(request: GenerateRequest) {
    this.#tokensMax = request.maxTokens ?? answerTokensMax
    this.#tokens = request.resume?.tokens.length ?? 0
    this.#characters = request.resume?.textLength ?? 0
  }

  /** True once the answer has started. */
  get hasStarted(): boolean {
    return this.#hasStarted
  }

  /** Judges the next event. */
  judge(event: GenerateEvent): AnswerMalformed | undefined {
    switch (event._tag) {
      case "Started":
        if (this.#hasStarted) return malformed("it started twice")
        this.#hasStarted = true
        return undefined
      case "Delta":
        this.#tokens += event.tokens.length
        this.#characters += event.text.length
        if (!this.#hasStarted) return malformed("text came before the start")
        if (this.#characters > answerCharactersMax) return malformed("more text than any answer has")
        return this.#tokens > this.#tokensMax ? malformed("more tokens than asked for") : undefined
      case "Finished": {
        if (!this.#hasStarted) return malformed("it finished before it started")
        const { completionTokens } = event.usage
        return completionTokens === this.#tokens
          ? undefined
          : malformed(`it counts ${completionTokens} tokens, ${this.#tokens} came`)
      }
      case "Failed":
        return undefined
    }
  }
}

// internal

const malformed = (detail: string) => new AnswerMalformed({ detail })
