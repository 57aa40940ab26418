/**
 * One answer as the router sees it: what was expected of the peer, and what came of it. Teaches the peer's pace and its
 * breaker. Every figure is this entry's own; nothing a peer says of its answers is believed here.
 */
import type { Breakers } from "./Breakers.ts"
import * as Pace from "./Pace.ts"
import type { PeerModel } from "./PeerModel.ts"
import type { SentPrompt } from "./SentPrompts.ts"

/** Represents how an answer ended at a peer. */
export type Outcome =
  | "whole"
  /** The peer is at fault. */
  | "failed"
  /** Neither: the client left, or the request or the hour was wrong. */
  | "none"

/** A first text later than this counts as a failure where it is also far from what was expected. */
const slowMsMin = 2_000
/** Answers to like prompts differ by less, whatever else runs at the peer. */
const slowFactor = 5

/** Represents one errand, from the moment its request is sent. */
export class Errand {
  readonly sentMs: number
  /** Prompt tokens that its peer has to compute for it. */
  readonly computedTokens: number
  readonly #to: PeerModel
  readonly #breakers: Breakers
  readonly #teaches: boolean
  /** Tokens that were ahead of its own. */
  readonly #aheadTokens: number
  /** For how long the peer had computed those. */
  readonly #spentMs: number
  readonly #slowMs: number
  readonly #slot: SentPrompt | undefined
  #state: "waits" | "begun" | "over" = "waits"

  constructor(
    to: PeerModel,
    breakers: Breakers,
    options: {
      readonly sentMs: number
      readonly computedTokens: number
      /** Blocks of its prompt, and the most prompts that are remembered of its peer. */
      readonly blocks: ReadonlyArray<number>
      readonly promptsMax: number
      /** False for the rest of an answer that another peer began: it has more to compute than its prompt. */
      readonly teaches: boolean
    }
  ) {
    this.#to = to
    this.#breakers = breakers
    this.#teaches = options.teaches
    this.sentMs = options.sentMs
    this.computedTokens = options.computedTokens
    this.#aheadTokens = to.aheadTokens
    this.#spentMs = Math.max(0, this.sentMs - (to.computes?.sinceMs ?? this.sentMs))
    const expectedMs = Pace.predictMs(to.pace, this.computedTokens + this.#aheadTokens) + (to.rttMs ?? 0)
    this.#slowMs =
      to.pace.samples === 0 || !this.#teaches ? Number.POSITIVE_INFINITY : Math.max(slowMsMin, slowFactor * expectedMs)
    breakers.sent(to.peer, this.sentMs)
    this.#slot = to.sent(this, options.blocks, options.promptsMax)
  }

  /** The first text came; calls after the first do nothing. */
  begun(nowMs: number): void {
    if (this.#state !== "waits") return
    this.#state = "begun"
    this.#to.noLongerWaits(this, nowMs)
    const isSlow = nowMs - this.sentMs > this.#slowMs
    if (isSlow) this.#failed(nowMs)
    else this.#breakers.begun(this.#to.peer, this.sentMs)
    if (!this.#teaches) return
    const ttftMs = Math.max(0, nowMs - this.sentMs + this.#spentMs - (this.#to.rttMs ?? 0))
    this.#to.pace = Pace.learn(
      this.#to.pace,
      { ttftMs, computedTokens: this.computedTokens + this.#aheadTokens },
      nowMs
    )
  }

  /** It is over; calls after the first do nothing. */
  ended(outcome: Outcome, nowMs: number): void {
    if (this.#state === "over") return
    const hasBegun = this.#state === "begun"
    this.#state = "over"
    this.#to.noLongerWaits(this, nowMs)
    if (this.#slot !== undefined) this.#slot.isHeld = false
    if (outcome === "whole") {
      this.#to.pace = Pace.held(this.#to.pace, nowMs - this.sentMs)
      this.#breakers.answered(this.#to.peer, this.sentMs)
    } else if (outcome === "failed" || (!hasBegun && nowMs - this.sentMs > this.#slowMs)) {
      this.#failed(nowMs)
    } else if (!hasBegun) {
      this.#breakers.takenBack(this.#to.peer, this.sentMs, nowMs)
    }
  }

  #failed(nowMs: number): void {
    this.#breakers.failed(this.#to.peer, this.sentMs, nowMs)
  }
}
