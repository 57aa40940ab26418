/** What rings answered, question by question, held against what one peer with the whole model answers. Pure. */
import type { Posed } from "./Asking.ts"

/** Represents how many answers of rings were those of the whole model. */
export interface Compared {
  readonly compared: number
  /** Those that were not. */
  readonly different: number
}

/** Holds the texts of a run. */
export class Texts {
  readonly #whole = new Map<string, string>()
  readonly #heard: Array<{ readonly posed: Posed; readonly text: string }> = []

  /** Takes note of what the whole model answers. */
  learn(posed: Posed, text: string): void {
    this.#whole.set(keyOf(posed), text)
  }

  /** Takes note of what a ring answers. */
  hear(posed: Posed, text: string): void {
    this.#heard.push({ posed, text })
  }

  /** Returns the questions that the whole model has not answered yet, each once. */
  unanswered(): ReadonlyArray<Posed> {
    const unknown = this.#heard.filter(({ posed }) => !this.#whole.has(keyOf(posed)))
    return [...new Map(unknown.map(({ posed }) => [keyOf(posed), posed])).values()]
  }

  /** Returns the outcome for all questions that the whole model has answered. */
  compare(): Compared {
    const known = this.#heard.flatMap(({ posed, text }) => {
      const whole = this.#whole.get(keyOf(posed))
      return whole === undefined ? [] : [whole === text]
    })
    return { compared: known.length, different: known.filter((isSame) => !isSame).length }
  }
}

// internal

const keyOf = ({ content, maxTokens, words }: Posed): string => JSON.stringify([content, maxTokens, words])
