/**
 * How fast a peer begins its answers, out of the last few: a part that every answer takes and a part for each token of
 * its prompt. What is remembered is believed for a while; the longer it proved right, the longer. Pure.
 */

/** Represents the pace of one peer with one model. */
export interface Pace {
  /** Answers it was learnt from. */
  readonly samples: number
  /** Time to the first text that does not depend on the prompt, without the way there. */
  readonly fixedMs: number
  /** Time for each prompt token that has to be computed; undefined while only short prompts were seen. */
  readonly msPerToken: number | undefined
  /** Time that an answer holds its slot. */
  readonly holdMs: number
  /** When the last answer was measured, and for how long what it said is believed. */
  readonly measuredMs: number
  readonly believedForMs: number
}

/** Represents one answer as a measure of pace. */
export interface PaceSample {
  /** From the question to the first text, less the round trip. */
  readonly ttftMs: number
  /** Tokens computed meanwhile: its own that were not cached, and those of prompts that were ahead of it. */
  readonly computedTokens: number
}

/** Knows nothing. */
export const unknown: Pace = {
  samples: 0,
  fixedMs: 0,
  msPerToken: undefined,
  holdMs: 0,
  measuredMs: Number.NEGATIVE_INFINITY,
  believedForMs: 0
}

/** Taken while nobody who serves the model was measured: what a small model takes on one thread. */
const msPerTokenAssumed = 1
/** From so many tokens on a first answer tells what a token takes. */
const longPromptTokens = 48
/**
 * Tokens of which an answer tells as much of what every answer takes as of what a token takes. Several blocks: what is
 * computed is known to a block, and of short prompts that error is the most.
 */
const evenTokens = 512
/** Weight of the newest answer: after three, two thirds of a change are known. */
const newestWeight = 0.35
/** A peer that nobody was sent to for so long may have changed; that is how soon one that has recovered is noticed. */
const believedForMsMin = 10_000
/** A peer that was found slow again and again is tried this often. */
const believedForMsMax = 300_000
/** A first answer after the time of belief that is this close to what was remembered, as a factor, confirms it. */
const confirmsWithin = 1.5

/** Returns the time to the first text of a prompt, of which so many tokens are computed. */
export const predictMs = ({ fixedMs, msPerToken }: Pace, computedTokens: number): number =>
  fixedMs + (msPerToken ?? msPerTokenAssumed) * computedTokens

/** Returns whether what is remembered may be relied on; else the next answer shows whether it still holds. */
export const isBelieved = ({ believedForMs, measuredMs }: Pace, nowMs: number): boolean =>
  nowMs - measuredMs <= believedForMs

/** Learns from an answer; one that cannot have been is none. */
export const learn = (pace: Pace, sample: PaceSample, nowMs: number): Pace => {
  const { computedTokens, ttftMs } = sample
  if (!(ttftMs >= 0 && computedTokens >= 0 && Number.isFinite(ttftMs + computedTokens))) return pace
  const isLong = computedTokens >= longPromptTokens
  const weight = pace.samples === 0 ? 1 : newestWeight
  const { fixedMs, msPerToken = isLong ? Math.max(0, ttftMs - pace.fixedMs) / computedTokens : undefined } = pace
  // Normalised least mean squares (Widrow and Hoff 1960): both parts take their share of the error.
  const offMs = weight * Math.max(-Number.MAX_VALUE, ttftMs - fixedMs - (msPerToken ?? 0) * computedTokens)
  const fixedPart = 1 / (1 + (computedTokens / evenTokens) ** 2)
  return {
    ...pace,
    samples: pace.samples + 1,
    fixedMs: Math.max(0, fixedMs + fixedPart * offMs),
    msPerToken:
      msPerToken === undefined
        ? undefined
        : Math.max(0, msPerToken + ((1 - fixedPart) * offMs) / Math.max(1, computedTokens)),
    measuredMs: nowMs,
    believedForMs: believedFor(pace, sample, nowMs)
  }
}

/** Learns for how long an answer held its slot. */
export const held = (pace: Pace, ms: number): Pace =>
  ms >= 0 && Number.isFinite(ms)
    ? { ...pace, holdMs: pace.holdMs === 0 ? ms : pace.holdMs + newestWeight * (ms - pace.holdMs) }
    : pace

// internal

const believedFor = (pace: Pace, { computedTokens, ttftMs }: PaceSample, nowMs: number): number => {
  if (pace.samples === 0 || isBelieved(pace, nowMs)) return Math.max(pace.believedForMs, believedForMsMin)
  const expectedMs = predictMs(pace, computedTokens)
  const isConfirmed = ttftMs <= expectedMs * confirmsWithin && expectedMs <= ttftMs * confirmsWithin
  return isConfirmed ? Math.min(believedForMsMax, pace.believedForMs * 2) : believedForMsMin
}
