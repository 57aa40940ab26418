/**
 * Keeps requests away from a provider that fails or begins far too late, so that its clients do not wait for it before
 * the mesh is asked: `../Breaker.ts` with the provider's rules, and what each request tells it. Owned by `Fallback.ts`.
 * No clock; each step takes `now`.
 */
import * as Breaker from "../Breaker.ts"

/** The rules of the provider's breaker. */
export const providerRules: Breaker.BreakerRules = {
  // two may be one accident of the network
  faultsMax: 3,
  // one failure in five is too many still, as each may cost somebody ten seconds
  answerWorth: 0.25,
  // the mesh answers meanwhile: longer than most networks and rate limits need to recover
  openMsMin: 5_000,
  // a client waits for each trial in vain: one in five minutes bears it, and that soon is noticed that it is back
  openMsMax: 300_000,
  // twice as long as an answer may be without text, after which it has failed in any case
  trialMsMax: 60_000
}

/** How one request ended. */
export type AttemptOutcome =
  | "whole"
  /** The provider is at fault. */
  | "failed"
  /** It answered, and what is wrong is the request. */
  | "rejected"
  /** The client went away. */
  | "left"

/** Represents one request, from the moment it is sent. */
export interface Attempt {
  /** Text came; calls after the first do nothing. */
  readonly text: (nowMs: number) => void
  /** It is over; calls after the first do nothing. */
  readonly ended: (outcome: AttemptOutcome, nowMs: number) => void
}

/** Represents how long a provider may take. */
export interface ProviderPatience {
  /** A first text later than this counts as a failure. */
  readonly slowMs: number
  /** A client that left without text counts as a failure after this; before, it tells nothing. */
  readonly patienceMs: number
}

/** Keeps the breaker of one provider. */
export class ProviderBreaker {
  readonly #patience: ProviderPatience
  readonly #changed: (breaker: Breaker.Breaker) => void
  #breaker = Breaker.closed

  /** `changed` is told when it closes, opens, or lets its one request through. */
  constructor(patience: ProviderPatience, changed: (breaker: Breaker.Breaker) => void) {
    this.#patience = patience
    this.#changed = changed
  }

  /** Returns whether the provider may be asked now. */
  passes(nowMs: number): boolean {
    return Breaker.passes(this.#breaker, providerRules, nowMs)
  }

  /** Notes that it is asked. */
  sent(sentMs: number): Attempt {
    const { patienceMs, slowMs } = this.#patience
    let state: "waits" | "talks" | "over" = "waits"
    this.#step((breaker) => Breaker.sent(breaker, providerRules, sentMs))
    const begun = () => this.#step((breaker) => Breaker.begun(breaker, providerRules, sentMs))
    const failed = (nowMs: number) => this.#step((breaker) => Breaker.failed(breaker, providerRules, sentMs, nowMs))
    return {
      text: (nowMs) => {
        if (state !== "waits") return
        state = "talks"
        if (nowMs - sentMs > slowMs) failed(nowMs)
        else begun()
      },
      ended: (outcome, nowMs) => {
        const before = state
        state = "over"
        if (before === "over") return
        if (outcome === "whole") this.#step((breaker) => Breaker.answered(breaker, providerRules, sentMs))
        else if (outcome === "failed") failed(nowMs)
        else if (before === "talks") return
        else if (outcome === "left" && nowMs - sentMs > patienceMs) failed(nowMs)
        else this.#step((breaker) => Breaker.takenBack(breaker, sentMs, nowMs))
      }
    }
  }

  #step(step: (breaker: Breaker.Breaker) => Breaker.Breaker): void {
    const before = this.#breaker
    this.#breaker = step(before)
    if (this.#breaker._tag !== before._tag) this.#changed(this.#breaker)
  }
}
