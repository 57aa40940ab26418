/**
 * Whether the mesh keeps the promise of a model's tier, by what its peers showed within the last hour. Pure; `Sla.ts`
 * gives it the figures, and the verdict goes out with every answer.
 */
import type { Figures } from "../performance/PerformanceState.ts"
import { promiseOf, type TierName, type TierPromise } from "./Tier.ts"

/** Whether the promise is kept, or what is short. */
export type SlaStatus =
  | "meets-sla"
  | "no-peer-with-model"
  | "no-measurements"
  | "ttft-too-high"
  | "tps-too-low"
  | "both-too-low"

/** Every status, the good one first. */
export const slaStatuses: ReadonlyArray<SlaStatus> = [
  "meets-sla",
  "no-peer-with-model",
  "no-measurements",
  "ttft-too-high",
  "tps-too-low",
  "both-too-low"
]

/** Represents the medians of one candidate; what it claims of itself is not among them. */
export interface Measured {
  readonly ttftMs: number
  /** Absent where no answer was long enough to tell a rate. */
  readonly tokensPerSecond: number | undefined
}

/** Represents what the gate says of one model. */
export interface Verdict {
  readonly status: SlaStatus
  readonly tier: TierName
  /** Peers that serve the model now, measured or not. */
  readonly candidates: number
  /** The figures of the one candidate that keeps the promise best; absent where none was measured. */
  readonly best: Measured | undefined
}

/**
 * Returns the verdict on the candidates of a model, undefined for one that was not measured. Both figures must be those
 * of one peer: the first token of one and the rate of another are nobody's answer. A rate that is not known yet is not
 * missed: answers were too short for anybody to notice.
 */
export const verdict = (tier: TierName, candidates: ReadonlyArray<Measured | undefined>): Verdict => {
  const promise = promiseOf(tier)
  const best = candidates.reduce<Measured | undefined>(
    (chosen, next) => (next !== undefined && (chosen === undefined || isBetter(promise, next, chosen)) ? next : chosen),
    undefined
  )
  return { status: statusOf(promise, candidates.length, best), tier, candidates: candidates.length, best }
}

/** Returns what tells whether a peer whose last hour was like this keeps the promise of a tier. */
export const keeps =
  (tier: TierName) =>
  ({ tokensPerSecond, ttftMs }: Figures): boolean =>
    statusOf(promiseOf(tier), 1, { ttftMs: ttftMs.p50, tokensPerSecond: tokensPerSecond?.p50 }) === "meets-sla"

// internal

const statusOf = (promise: TierPromise | undefined, candidates: number, best: Measured | undefined): SlaStatus => {
  if (candidates === 0) return "no-peer-with-model"
  if (promise === undefined) return "meets-sla"
  if (best === undefined) return "no-measurements"
  const isLate = best.ttftMs > promise.ttftMsMax
  const isSlow = rateOf(best) < promise.tokensPerSecondMin
  return isLate ? (isSlow ? "both-too-low" : "ttft-too-high") : isSlow ? "tps-too-low" : "meets-sla"
}

const rateOf = ({ tokensPerSecond }: Measured): number => tokensPerSecond ?? Number.POSITIVE_INFINITY

/** How far a candidate is from the promise, as the factor that is missing on both sides; 1 where it is kept. */
const shortfall = ({ tokensPerSecondMin, ttftMsMax }: TierPromise, one: Measured): number =>
  Math.max(1, one.ttftMs / ttftMsMax) * Math.max(1, tokensPerSecondMin / rateOf(one))

const isBetter = (promise: TierPromise | undefined, one: Measured, other: Measured): boolean => {
  const [mine, theirs] = promise === undefined ? [1, 1] : [shortfall(promise, one), shortfall(promise, other)]
  return mine < theirs || (mine === theirs && one.ttftMs < other.ttftMs)
}
