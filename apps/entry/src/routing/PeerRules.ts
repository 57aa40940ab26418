/** When a peer gets no requests for a while, and when it is tried again. */
import type { BreakerRules } from "../Breaker.ts"

/** The rules of every peer's breaker. */
export const peerRules: BreakerRules = {
  // two may be one accident, an engine that ends takes all its answers along
  faultsMax: 3,
  // one failure in five is too many still
  answerWorth: 0.25,
  // an engine host is back within half a second
  openMsMin: 1_000,
  // a peer that goes on failing is tried once a minute
  openMsMax: 60_000,
  // as long as an answer's stream may be quiet
  trialMsMax: 30_000
}
