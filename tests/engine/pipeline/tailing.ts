/**
 * A pipeline without a model, in virtual time: what a tail does with windows where the next token is a function of all
 * tokens before it, and a queue of what happens when.
 */
import type { JobTerms, Tokens, Window } from "@weft/engine/pipeline/StageFrame"
import { faultOf } from "@weft/engine/pipeline/StageWindow"

/** Returns numbers in [0, 1) that depend on the seed alone. */
export const seeded = (seed: number) => {
  let state = (seed * 2654435761 + 1) >>> 0
  return (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return (Math.imul(state ^ (state >>> 15), 2246822519) >>> 0) / 2 ** 32
  }
}

/** Returns the token that follows `history`. */
export type Oracle = (history: ArrayLike<number>) => number

/** Tokens that there are. */
export const vocabularyTokens = 40

/** Returns an oracle whose tokens depend on all before them; the fewer the `words`, the more it repeats itself. */
export const hashing =
  (words: number): Oracle =>
  (history) => {
    let hash = 2166136261
    for (let at = 0; at < history.length; at++) hash = Math.imul(hash ^ ((history[at] ?? 0) + at), 16777619) >>> 0
    return (hash >>> 8) % words
  }

/** Returns an oracle that goes through a cycle, with a token of its own now and then. */
export const repeating =
  (period: number, oddEvery: number): Oracle =>
  (history) =>
    history.length % oddEvery === oddEvery - 1 ? (history.length * 7) % vocabularyTokens : history.length % period

/** Returns the first `count` tokens behind a prompt. */
export const told = (oracle: Oracle, prompt: ReadonlyArray<number>, count: number): ReadonlyArray<number> => {
  const history = [...prompt]
  while (history.length < prompt.length + count) history.push(oracle(history))
  return history.slice(prompt.length)
}

/** Represents all stages of one job, as the tail sees them. */
export interface Tail {
  /** Returns what the tail says to a window; throws where a stage would refuse it. Stale ones are dropped. */
  readonly take: (window: Window) => Tokens | undefined
}

/** Returns the stages of a job that was opened in an epoch. */
export const tail = (oracle: Oracle, terms: JobTerms, epoch: number): Tail => {
  const tokens: Array<number> = []
  let round = 0
  const bounds = { isFirst: true, width: 1, vocabularyTokens, contextTokens: terms.contextTokens }
  return {
    take: (window) => {
      if (window.epoch !== epoch || window.round < round) return undefined
      round = window.round
      const fault = faultOf(window, terms, bounds)
      if (fault !== undefined) throw new Error(`a stage refuses the window: ${fault}`)
      if (window.position > tokens.length) throw new Error(`a gap behind ${tokens.length} at ${window.position}`)
      tokens.length = window.position
      for (const token of window.tokens) tokens.push(token)
      const found: Array<number> = []
      for (let row = window.tokens.length - window.drawn; row < window.tokens.length; row++) {
        const isLast = row === window.tokens.length - 1
        const token = oracle(isLast ? tokens : tokens.slice(0, window.position + row + 1))
        found.push(token)
        if (window.tokens[row + 1] !== token) break
      }
      const { drawn, job, position } = window
      return {
        kind: "tokens",
        epoch,
        job,
        round,
        window: window.window,
        position,
        drawn,
        tokens: Int32Array.from(found)
      }
    }
  }
}

/** What happens when, in virtual time. */
export class Agenda {
  nowMs = 0
  #entries: Array<{ readonly atMs: number; readonly run: () => void }> = []

  at(atMs: number, run: () => void): void {
    const index = this.#entries.findIndex((entry) => entry.atMs > atMs)
    this.#entries.splice(index === -1 ? this.#entries.length : index, 0, { atMs, run })
  }

  /** Lets the next thing happen; false where nothing is left. */
  step(): boolean {
    const entry = this.#entries.shift()
    if (entry === undefined) return false
    this.nowMs = Math.max(this.nowMs, entry.atMs)
    entry.run()
    return true
  }
}
