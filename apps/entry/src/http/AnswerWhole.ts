/** An answer as one JSON object, sent when it has ended. */
import type { GenerateEvent } from "@weft/engine/Generation"
import { fromFailure, shuttingDown } from "../OpenAiError.ts"
import type { AnswerFormat, AnswerHead } from "./AnswerFormat.ts"
import type { Ending, Reply, Respond } from "./Reply.ts"

/** Collects one answer. */
export class AnswerWhole implements Reply {
  readonly #respond: Respond
  readonly #format: AnswerFormat
  readonly #head: AnswerHead
  #text = ""
  #last: Extract<GenerateEvent, { readonly _tag: "Finished" }> | undefined

  constructor(respond: Respond, format: AnswerFormat, head: AnswerHead) {
    this.#respond = respond
    this.#format = format
    this.#head = head
  }

  events(events: ReadonlyArray<GenerateEvent>): Ending | undefined {
    for (const event of events) {
      if (event._tag === "Delta") this.#text += event.text
      else if (event._tag === "Failed") return fromFailure(event.failure, this.#head.model)
      else if (event._tag === "Finished") {
        this.#last = event
        return "whole"
      }
    }
    return undefined
  }

  tick(): Ending | undefined {
    return undefined
  }

  end(ending: Ending): void {
    if (this.#last !== undefined) {
      const { finishReason, usage } = this.#last
      this.#respond.send(200, contentType, this.#format.whole(this.#head, this.#text, finishReason, usage))
    } else this.#respond.fail(typeof ending === "object" ? ending : shuttingDown())
  }
}

// internal

const contentType = { "content-type": "application/json" }
