/**
 * Guesses at the next tokens of an answer, to be proved or refuted by the tail. Pure: a draft depends on the tokens
 * before it alone.
 */

/** Represents who guesses: what stood there before, or a small model beside the host. */
export type Source = "lookup" | "model"

/** Represents a guess. */
export interface Draft {
  readonly tokens: ReadonlyArray<number>
  /** How well it is founded, 0 to `evidenceMax`; drafts of the same are right about as often. */
  readonly evidence: number
}

/** Best foundation that a draft may have. */
export const evidenceMax = 2

/** Represents a way to guess. */
export interface Drafter {
  /** Returns at most so many tokens that may follow `history`; none where it has no guess. */
  readonly draft: (history: Int32Array, most: number) => Draft | undefined
}

/** Shortest and longest end of the history that is looked up: one token says too little, more than four little more. */
const grams = { least: 2, most: 4 } as const
/** Tokens that are looked through, from the end: a tenth of a millisecond. */
const lookbackMax = 65_536

/**
 * Guesses that what stood behind the end of the history before comes again: the longest end of 4 to 2 tokens that there
 * was, the most recent of them (prompt lookup; Saxena 2023). A guess that reaches the end of the history goes on in
 * itself.
 */
export const lookup: Drafter = {
  draft: (history, most) => {
    const found = most > 0 ? earlierEnd(history) : undefined
    if (found === undefined) return undefined
    const period = history.length - found.end
    const tokens: Array<number> = []
    for (let at = 0; at < most; at++) tokens.push(history[found.end + (at % period)] ?? 0)
    return { tokens, evidence: found.length - grams.least }
  }
}

/** Never guesses. */
export const none: Drafter = { draft: () => undefined }

// internal

/** Returns where the end of `history` stood before, and how many tokens were the same. */
const earlierEnd = (history: Int32Array): { readonly end: number; readonly length: number } | undefined => {
  const last = history.length - 1
  const first = Math.max(grams.least - 1, history.length - lookbackMax)
  let best = { end: 0, length: 0 }
  for (let at = last - 1; at >= first; at--) {
    if (history[at] !== history[last]) continue
    let length = 1
    while (length < grams.most && length <= at && history[at - length] === history[last - length]) length++
    if (length > best.length) best = { end: at + 1, length }
    if (length === grams.most) break
  }
  return best.length < grams.least ? undefined : best
}
