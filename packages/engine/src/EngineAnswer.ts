/**
 * One answer while it is made: the text that comes of its tokens, and where it ends. Owned by who draws the tokens, or
 * has them drawn; they flow in one by one, events out. An answer that was begun elsewhere is replayed first, and what
 * its client has of it is not given out again.
 */
import type { GenerateEvent, GenerateFailure, GenerateRequest } from "./Generation.ts"
import type { LlamaText } from "./internal/llama/LlamaText.ts"
import * as StopMatcher from "./StopMatcher.ts"
import * as Utf8Assembler from "./Utf8Assembler.ts"

/** Represents a running answer. */
export interface EngineAnswer {
  /** Most tokens it may have, those begun elsewhere included. */
  readonly tokensMax: number
  /**
   * Returns the events of what was given elsewhere: mostly none. The last is `Finished` where the answer had come to
   * its end there, and `Failed` where the request does not fit itself. Called once, before the first `add`.
   */
  readonly begin: () => ReadonlyArray<GenerateEvent>
  /** Adds the token that was drawn; returns its events, of which the last is `Finished` where the answer ends. */
  readonly add: (token: number) => ReadonlyArray<GenerateEvent>
}

/** Represents what an answer needs of a vocabulary. */
export type AnswerText = Pick<LlamaText, "vocabularyTokens" | "piece" | "endsAnswer">

/** Represents what an answer is made from. */
export interface EngineAnswerOptions {
  readonly request: GenerateRequest
  /** Tokens of the prompt. */
  readonly promptTokens: number
  readonly contextTokens: number
  /** Returns the tokens of the prompt whose cells were there; asked at its end, for the usage. */
  readonly cachedTokens: () => number
}

/** Returns the answer to a request. */
export const make = (text: AnswerText, options: EngineAnswerOptions): EngineAnswer => new Answer(text, options)

// internal

class Answer implements EngineAnswer {
  readonly tokensMax: number
  readonly #characters = Utf8Assembler.make()
  readonly #stops: StopMatcher.StopMatcher
  #length = 0
  /** UTF-16 units that the client has and the replay has not reached yet. */
  #known: number

  constructor(
    private readonly text: AnswerText,
    private readonly options: EngineAnswerOptions
  ) {
    const { contextTokens, promptTokens, request } = options
    this.#stops = StopMatcher.make(request.stop)
    this.tokensMax = Math.min(request.maxTokens ?? contextTokens, contextTokens - promptTokens)
    this.#known = request.resume?.textLength ?? 0
  }

  begin(): ReadonlyArray<GenerateEvent> {
    const { resume } = this.options.request
    if (resume === undefined) return []
    if (resume.tokens.length > this.tokensMax) return misfit("more tokens than the answer may have")
    let text = ""
    for (const token of resume.tokens) {
      if (token < 0 || token >= this.text.vocabularyTokens || this.text.endsAnswer(token))
        return misfit(`token ${token}, which no answer of this model holds`)
      this.#length++
      const step = this.#stops.push(this.#characters.push(this.text.piece(token)))
      text += step.emit
      if (!step.stopped) continue
      if (this.#length < resume.tokens.length) return misfit("tokens after a stop string")
      return this.#resumed(this.#finish(text, [], "stop"))
    }
    if (this.#length === this.tokensMax) return this.#resumed(this.#finishWithRest(text, [], "length"))
    // Text is held back up to the end of an answer: who has it all has seen that end.
    if (resume.textLength > text.length) return this.#resumed(this.#finishWithRest(text, [], "stop"))
    const owed = this.#unknown(text)
    return this.#resumed(owed === "" ? [] : [{ _tag: "Delta", text: owed, tokens: [] }])
  }

  add(token: number): ReadonlyArray<GenerateEvent> {
    const ends = this.options.request.ignoresEnd !== true && this.text.endsAnswer(token)
    if (ends) return this.#finishWithRest("", [], "stop")
    this.#length++
    const step = this.#stops.push(this.#characters.push(this.text.piece(token)))
    if (step.stopped) return this.#finish(step.emit, [token], "stop")
    if (this.#length >= this.tokensMax) return this.#finishWithRest(step.emit, [token], "length")
    return [{ _tag: "Delta", text: step.emit, tokens: [token] }]
  }

  /** Lets out what was held back; a stop string can still lie in it. */
  #finishWithRest(text: string, drawn: ReadonlyArray<number>, finishReason: "stop" | "length") {
    const rest = this.#stops.push(this.#characters.flush())
    const held = this.#stops.flush()
    const stopped = rest.stopped || held.stopped
    return this.#finish(text + rest.emit + held.emit, drawn, stopped ? "stop" : finishReason)
  }

  #finish(text: string, drawn: ReadonlyArray<number>, finishReason: "stop" | "length"): ReadonlyArray<GenerateEvent> {
    const { cachedTokens, promptTokens } = this.options
    const usage = { promptTokens, completionTokens: this.#length, cachedTokens: cachedTokens() }
    const finished: GenerateEvent = { _tag: "Finished", finishReason, usage }
    const unknown = this.#unknown(text)
    return unknown === "" && drawn.length === 0
      ? [finished]
      : [{ _tag: "Delta", text: unknown, tokens: drawn }, finished]
  }

  /** Returns the part of `text` that the client does not have. */
  #unknown(text: string): string {
    if (this.#known === 0) return text
    const unknown = text.slice(this.#known)
    this.#known = Math.max(0, this.#known - text.length)
    return unknown
  }

  /** Returns the events of a replay, unless the client has text of which the replay knows nothing. */
  #resumed(events: ReadonlyArray<GenerateEvent>): ReadonlyArray<GenerateEvent> {
    if (this.#known > 0) return misfit("less text than textLength")
    const whole = events.every((event) => event._tag !== "Delta" || event.text.isWellFormed())
    return whole ? events : misfit("a textLength within a character")
  }
}

const misfit = (what: string): ReadonlyArray<GenerateEvent> => {
  const message = `The answer cannot be resumed: its tokens are ${what}. Send the request again from its start.`
  const failure: GenerateFailure = { code: "invalid_request", message, param: "resume" }
  return [{ _tag: "Failed", failure }]
}
