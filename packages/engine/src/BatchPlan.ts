/**
 * What the next decode computes, as a pure decision: every running answer gets its one row, and the prompts that wait
 * share a bounded number of rows, oldest first. The engine host makes the native calls for it.
 */

/** Represents a running sequence as the plan sees it; oldest first. */
export interface PlannedSequence {
  /** Tokens known but not yet computed: the rest of the prompt, or the last token drawn; at least 1. */
  readonly pending: number
  /** The prompt is computed, so `pending` is the token drawn last. */
  readonly answering: boolean
}

/** Represents the share of one sequence in the next decode. */
export interface Slice {
  /** Place of the sequence in the list the plan was made for. */
  readonly index: number
  /** Its next tokens, at least 1. */
  readonly rows: number
  /** The last row is the sequence's last known token, so the next one is drawn from it. */
  readonly draws: boolean
}

/** Returns the slices of the next decode: at most one per sequence, and at most `sequences + prefillTokens` rows. */
export const plan = (sequences: ReadonlyArray<PlannedSequence>, prefillTokens: number): ReadonlyArray<Slice> => {
  const slices: Array<Slice> = []
  let prefillLeft = prefillTokens
  for (const [index, { answering, pending }] of sequences.entries()) {
    const rows = answering ? pending : Math.min(pending, prefillLeft)
    if (rows === 0) continue
    if (!answering) prefillLeft -= rows
    slices.push({ index, rows, draws: rows === pending })
  }
  return slices
}
