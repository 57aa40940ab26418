/**
 * The draws of one job at the tail: the tokens that its sequence holds, and a sampler that has seen those of the
 * answer. A window that changes tokens which the sampler has seen makes a new one, so what is drawn at a place depends
 * on the tokens before it and the seed alone. Owned by the stage loop.
 */

import type { Sampler } from "../internal/llama/LlamaSampler.ts"
import type { LlamaStage } from "../internal/llama/LlamaStage.ts"
import type { JobTerms, Window } from "./StageFrame.ts"

/** Represents the draws of one job. */
export interface StageDraw {
  /** Takes note of a window's tokens; they lie within the context and follow those that are known. */
  readonly take: (window: Window) => void
  /**
   * Returns the tokens drawn for a window that was taken, whose rows begin at row `from` of the last decode: one for
   * each drawn row, up to the first that differs from the next row's token.
   */
  readonly verify: (window: Window, from: number) => Int32Array
  readonly close: () => void
}

/** Returns the draws of a job, none made yet. */
export const make = (llama: LlamaStage, terms: JobTerms): StageDraw => new Draws(llama, terms)

// internal

class Draws implements StageDraw {
  readonly #tokens: Int32Array
  #sampler: Sampler | undefined
  /** Position behind the last token that the sampler has seen. */
  #seen = 0

  constructor(
    private readonly llama: LlamaStage,
    private readonly terms: JobTerms
  ) {
    this.#tokens = new Int32Array(terms.contextTokens)
  }

  take({ position, tokens }: Window): void {
    const common = Math.min(tokens.length, this.#seen - position)
    for (let at = 0; at < common; at++) {
      if (tokens[at] === this.#tokens[position + at]) continue
      this.close()
      break
    }
    this.#tokens.set(tokens, position)
  }

  verify({ drawn, position, tokens }: Window, from: number): Int32Array {
    const found: Array<number> = []
    for (let row = tokens.length - drawn; row < tokens.length; row++) {
      const token = this.#draw(from + row, position + row + 1)
      found.push(token)
      if (tokens[row + 1] !== token) break
    }
    return Int32Array.from(found)
  }

  close(): void {
    this.#sampler?.close()
    this.#sampler = undefined
    this.#seen = 0
  }

  /** Draws the token at `position` from row `row`. */
  #draw(row: number, position: number): number {
    const sampler = this.#samplerAt(position)
    const token = sampler.draw(row)
    this.#tokens[position] = token
    this.#seen = position + 1
    return token
  }

  /** Returns the sampler that has seen all tokens of the answer before `position` and no other. */
  #samplerAt(position: number): Sampler {
    const { promptTokens, sampling, seed } = this.terms
    if (this.#seen > position) this.close()
    if (this.#sampler === undefined) this.#seen = promptTokens
    const sampler = this.#sampler ?? this.llama.openSampler(sampling, seed, this.#tokens.subarray(0, promptTokens))
    this.#sampler = sampler
    while (this.#seen < position) sampler.accept(this.#tokens[this.#seen++] ?? 0)
    return sampler
  }
}
