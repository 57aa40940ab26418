/**
 * Keeps requests away from a peer that fails them: closed, open for a while, then half open for the one request that
 * shows whether it has healed. Pure. https://martinfowler.com/bliki/CircuitBreaker.html
 */

/** Represents what is remembered of a peer's failures. */
export type Breaker =
  /** Requests pass. `faults` rises with failures, falls with answers; `openMs` is how long it would open for. */
  | { readonly _tag: "Closed"; readonly faults: number; readonly openMs: number }
  /** Nothing passes until then. */
  | { readonly _tag: "Open"; readonly untilMs: number; readonly openMs: number }
  /** One request is on its way. */
  | { readonly _tag: "HalfOpen"; readonly sinceMs: number; readonly openMs: number }

/** Failures that open it: two may be one accident, an engine that ends takes all its answers along. */
const faultsMax = 3
/** What an answer makes good: one failure in five is too many still. */
const answerWorth = 0.25
/** An engine host is back within half a second. */
const openMsMin = 1_000
/** A peer that goes on failing is tried once a minute. */
const openMsMax = 60_000
/** A trial that has told nothing for so long was lost. */
const trialMsMax = 30_000

/** Has seen no failure. */
export const closed: Breaker = { _tag: "Closed", faults: 0, openMs: openMsMin }

/** Returns whether a request may be sent now. */
export const passes = (breaker: Breaker, nowMs: number): boolean => {
  switch (breaker._tag) {
    case "Closed":
      return true
    case "Open":
      return nowMs >= breaker.untilMs
    case "HalfOpen":
      return nowMs >= breaker.sinceMs + trialMsMax
  }
}

/** Notes that a request is sent. */
export const sent = (breaker: Breaker, nowMs: number): Breaker =>
  breaker._tag === "Closed" ? breaker : { _tag: "HalfOpen", sinceMs: nowMs, openMs: breaker.openMs }

/** Notes that an answer has begun in good time: a trial is passed, and the next failure opens it again, for longer. */
export const begun = (breaker: Breaker): Breaker =>
  breaker._tag === "HalfOpen"
    ? { _tag: "Closed", faults: faultsMax - 1, openMs: Math.min(openMsMax, breaker.openMs * 2) }
    : breaker

/** Notes a whole answer; one that was asked for before it opened changes nothing. */
export const answered = (breaker: Breaker): Breaker => {
  if (breaker._tag !== "Closed") return breaker
  const faults = Math.max(0, breaker.faults - answerWorth)
  return faults === 0 ? closed : { ...breaker, faults }
}

/** Notes a failure, or an answer that was far too slow. */
export const failed = (breaker: Breaker, nowMs: number): Breaker => {
  switch (breaker._tag) {
    case "Closed": {
      const { faults, openMs } = breaker
      return faults + 1 >= faultsMax
        ? { _tag: "Open", untilMs: nowMs + openMs, openMs }
        : { ...breaker, faults: faults + 1 }
    }
    case "HalfOpen": {
      const openMs = Math.min(openMsMax, breaker.openMs * 2)
      return { _tag: "Open", untilMs: nowMs + openMs, openMs }
    }
    case "Open":
      return breaker
  }
}

/** Notes that a request was taken back before it told anything: the next one is the trial. */
export const takenBack = (breaker: Breaker, nowMs: number): Breaker =>
  breaker._tag === "HalfOpen" ? { _tag: "Open", untilMs: nowMs, openMs: breaker.openMs } : breaker
