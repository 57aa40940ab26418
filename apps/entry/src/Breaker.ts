/**
 * Keeps requests away from who fails them: closed, open for a while, then half open for the one request that shows
 * whether it has healed. Peers and the provider have one each, with rules of their own. Pure; whoever keeps one says
 * when each request was sent, as what was sent before the last change tells nothing of now.
 * https://martinfowler.com/bliki/CircuitBreaker.html
 */

/** Represents what is remembered of failures. */
export type Breaker =
  /** Requests pass. `faults` rises with failures, falls with answers; `openMs` is how long it was open last, or 0. */
  | { readonly _tag: "Closed"; readonly faults: number; readonly openMs: number; readonly sinceMs: number }
  /** Nothing passes until then. */
  | { readonly _tag: "Open"; readonly untilMs: number; readonly openMs: number }
  /** One request is on its way, sent then. */
  | { readonly _tag: "HalfOpen"; readonly sinceMs: number; readonly openMs: number }

/** Represents how much is borne, and for how long nobody is asked then. */
export interface BreakerRules {
  /** Failures that open it. */
  readonly faultsMax: number
  /** What of a failure an answer makes good. */
  readonly answerWorth: number
  /** How long it opens for first, and at most: each trial that fails doubles it. */
  readonly openMsMin: number
  readonly openMsMax: number
  /** A trial that has told nothing for so long was lost. */
  readonly trialMsMax: number
}

/** Has seen no failure. */
export const closed: Breaker = { _tag: "Closed", faults: 0, openMs: 0, sinceMs: Number.NEGATIVE_INFINITY }

/** Returns whether a request may be sent now; a clock that was set back ends what lies ahead. */
export const passes = (breaker: Breaker, rules: BreakerRules, nowMs: number): boolean => {
  switch (breaker._tag) {
    case "Closed":
      return true
    case "Open":
      return nowMs >= breaker.untilMs || nowMs < breaker.untilMs - breaker.openMs
    case "HalfOpen":
      return Math.abs(nowMs - breaker.sinceMs) >= rules.trialMsMax
  }
}

/** Notes that a request is sent; one that is sent although another is the trial is no trial, and tells as much. */
export const sent = (breaker: Breaker, rules: BreakerRules, nowMs: number): Breaker => {
  switch (breaker._tag) {
    case "Closed":
      return nowMs < breaker.sinceMs ? { ...breaker, sinceMs: nowMs } : breaker
    case "Open":
      return { _tag: "HalfOpen", sinceMs: nowMs, openMs: breaker.openMs }
    case "HalfOpen":
      return passes(breaker, rules, nowMs) ? { ...breaker, sinceMs: nowMs } : breaker
  }
}

/** Notes that an answer has begun in good time: a trial is passed, and the next failure opens it again, for longer. */
export const begun = (breaker: Breaker, rules: BreakerRules, sentMs: number): Breaker =>
  breaker._tag === "HalfOpen" && sentMs >= breaker.sinceMs
    ? { _tag: "Closed", faults: rules.faultsMax - 1, openMs: breaker.openMs, sinceMs: breaker.sinceMs }
    : breaker

/** Notes a whole answer. */
export const answered = (breaker: Breaker, rules: BreakerRules, sentMs: number): Breaker => {
  if (breaker._tag !== "Closed" || sentMs < breaker.sinceMs) return breaker
  const faults = Math.max(0, breaker.faults - rules.answerWorth)
  return faults === 0 ? closed : { ...breaker, faults }
}

/** Notes a failure, or an answer that was far too slow. */
export const failed = (breaker: Breaker, rules: BreakerRules, sentMs: number, nowMs: number): Breaker => {
  if (breaker._tag === "Open" || sentMs < breaker.sinceMs) return breaker
  if (breaker._tag === "Closed" && breaker.faults + 1 < rules.faultsMax) {
    return { ...breaker, faults: breaker.faults + 1 }
  }
  const openMs = Math.min(rules.openMsMax, Math.max(rules.openMsMin, breaker.openMs * 2))
  return { _tag: "Open", untilMs: nowMs + openMs, openMs }
}

/** Notes that a request was taken back before it told anything: the next one is the trial. */
export const takenBack = (breaker: Breaker, sentMs: number, nowMs: number): Breaker =>
  breaker._tag === "HalfOpen" && sentMs >= breaker.sinceMs
    ? { _tag: "Open", untilMs: nowMs, openMs: breaker.openMs }
    : breaker
