/**
 * Which tokens of the waiting prompts the next decode computes, as a pure decision. Answers that run get their one
 * row in a decode of their own, between those of the prompts: a long prompt holds no answer up for longer than one
 * decode.
 */
import type { Profile } from "./Generation.ts"

/**
 * Tokens of a prompt in one decode of the exact profile, the same on every peer: from 64 rows on, llama.cpp computes
 * attention in tiles, and where a tile begins shows in the last bits. Fewer would be computed row by row; with twice as
 * many a prompt takes as long on one peer (0.29 B, 1,024 tokens), but a split's first token comes a quarter later, as
 * each stage computes one chunk behind the stage before.
 */
export const canonicalTokens = 64
/** Tokens of an answer begun elsewhere in one decode of the exact profile: below 64 rows each is what it is alone. */
export const replayedTokens = 32

/** Represents a sequence whose tokens are not all computed, as the plan sees it. */
export interface PlannedPrompt {
  /** Tokens whose cells there are; less than `known`. */
  readonly computed: number
  /** Tokens of the prompt. */
  readonly prompt: number
  /** Tokens of the prompt and of the answer begun elsewhere. */
  readonly known: number
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

/**
 * Returns the slices of the next decode for the sequences of `prompts`, oldest first: in the fast profile
 * `prefillTokens` rows (fewer where no more wait), in the exact one a chunk of the oldest alone.
 */
export const plan = (
  prompts: ReadonlyArray<PlannedPrompt>,
  profile: Profile,
  prefillTokens: number
): ReadonlyArray<Slice> => (profile === "exact" ? canonical(prompts) : shared(prompts, prefillTokens))

// internal

const shared = (prompts: ReadonlyArray<PlannedPrompt>, prefillTokens: number): ReadonlyArray<Slice> => {
  const slices: Array<Slice> = []
  let left = prefillTokens
  for (const [index, { computed, known }] of prompts.entries()) {
    if (left === 0) break
    const rows = Math.min(known - computed, left)
    left -= rows
    slices.push({ index, rows, draws: computed + rows === known })
  }
  return slices
}

const canonical = ([oldest]: ReadonlyArray<PlannedPrompt>): ReadonlyArray<Slice> => {
  if (oldest === undefined) return []
  const { computed, known, prompt } = oldest
  const rows =
    computed < prompt
      ? Math.min(canonicalTokens - (computed % canonicalTokens), prompt - computed)
      : Math.min(replayedTokens, known - computed)
  return [{ index: 0, rows, draws: computed + rows === known }]
}
