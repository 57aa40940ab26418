/** What one answer tells of how fast its model is served, or why it tells nothing. Pure. */

/** Represents an answer that has ended, as its account saw it. Times are milliseconds of one clock. */
export interface EndedAnswer {
  /** What the client saw; 499 for one that left. */
  readonly status: number
  /** The peer's own count; absent where the answer ended without its last event. */
  readonly usageTokens: number | undefined
  readonly startedMs: number
  /** When its first and its last text came; absent where none did. */
  readonly firstMs: number | undefined
  readonly lastMs: number | undefined
  /** Tokens that came after those of the first text. */
  readonly tokensAfterFirst: number
}

/** Represents why an answer is no sample. */
export type NoSample =
  | "non_2xx_status"
  | "usage_chunk_missing"
  | "zero_completion_tokens"
  | "client_disconnected"
  | "absurd"

/** Represents what is measured of an answer. */
export interface AnswerSample {
  readonly ttftMs: number
  /** Of the time between first and last text; absent where that is too short to tell a rate. */
  readonly tokensPerSecond: number | undefined
}

/** Shortest time between first and last text that tells a rate: a shorter one tells how reads fell together. */
export const windowMsMin = 50

/** Nothing gives one answer so many; a peer that sends more counts tokens that it does not draw. */
export const tokensPerSecondMax = 100_000
/** Nobody waits so long for a first text: the clock was set. */
export const ttftMsMax = 600_000
/** The clock of arrivals has whole milliseconds, so a first text may come this much before its request. */
const roundingMs = 2

/** Status of a client that left before the end, after nginx. */
const clientLeft = 499

/** Returns the sample of an answer, or why there is none. */
export const sampleOf = (answer: EndedAnswer): AnswerSample | NoSample => {
  const { firstMs, lastMs, startedMs, status, tokensAfterFirst, usageTokens } = answer
  if (status === clientLeft) return "client_disconnected"
  if (status < 200 || status > 299) return "non_2xx_status"
  if (usageTokens === undefined) return "usage_chunk_missing"
  if (usageTokens === 0 || firstMs === undefined || lastMs === undefined) return "zero_completion_tokens"
  const windowMs = lastMs - firstMs
  const hasRate = windowMs >= windowMsMin && tokensAfterFirst > 0
  const ttftMs = firstMs - startedMs
  const tokensPerSecond = hasRate ? (tokensAfterFirst * 1000) / windowMs : undefined
  const isSane =
    ttftMs >= -roundingMs &&
    ttftMs <= ttftMsMax &&
    windowMs >= 0 &&
    tokensAfterFirst >= 0 &&
    (tokensPerSecond === undefined || (tokensPerSecond >= 0 && tokensPerSecond <= tokensPerSecondMax))
  return isSane ? { ttftMs: Math.max(0, ttftMs), tokensPerSecond } : "absurd"
}
