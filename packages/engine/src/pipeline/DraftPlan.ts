/**
 * How far one answer is guessed ahead: as far as it pays, by how often guesses were right and how long windows take.
 * Sans I/O; owned by the pipeline host, one for each job. Guesses are compared with what is decided whether they were
 * sent or not, so to learn costs nothing; what sending them has lost is kept below a hundredth of the answer's time.
 */
import { type Drafter, evidenceMax } from "./Draft.ts"
import { type Answered, draftWindowsMax, type Pace, still } from "./JobState.ts"
import * as LoopTime from "./LoopTime.ts"

/** Represents what a window of the answer meets on its way. */
export interface Traffic {
  readonly loop: LoopTime.LoopTime
  /** Other answers, all of which wait where a stage computes longer for this one. */
  readonly others: number
}

/** Represents the plan of one answer's drafts. */
export interface DraftPlan {
  /** Learns from the tokens of `known` behind the first `from`, which were decided just now. */
  readonly learn: (known: Int32Array, from: number) => void
  /** Takes into account what a window with so many tokens of answer cost. */
  readonly account: (answered: Answered, tokens: number, dropped: number, traffic: Traffic) => void
  /** Returns how far to guess behind `known`. */
  readonly pace: (known: Int32Array, traffic: Traffic) => Pace
}

/** Returns the plan of an answer of which nothing is known. */
export const make = (drafter: Drafter): DraftPlan => new Plan(drafter)

// internal

/** How often drafts are right before any was compared, by their evidence: carefully guessed for ordinary text. */
const rightAtFirst: ReadonlyArray<number> = [0.3, 0.5, 0.6]
/** Weight of one comparison: the last sixteen or so count. */
const weight = 1 / 16
/** Rates are never taken for better: the next token may be another one. */
const rightMost = 0.98
/** Share of an answer's time that drafts may lose. */
const lossShare = 0.01
/** Drafts must gain this much: times are rough. */
const gainLeast = 1.03
/** Windows with drafts after which one goes without, to see what that takes now. */
const draftedMax = 64
/** What is tried: rows of a window, and windows under way. */
const rowsTried = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]
const windowsTried = [1, 2, 3, 4, 6, draftWindowsMax]

class Plan implements DraftPlan {
  readonly #right = Array.from({ length: evidenceMax + 1 }, (_, evidence) => rightAtFirst[evidence] ?? 0)
  /** Milliseconds that the answer would have taken without drafts, and that they took more: less than 0 is a gain. */
  #plainMs = 0
  #lossMs = 0
  /** Since a window without drafts. */
  #drafted = 0

  constructor(private readonly drafter: Drafter) {}

  learn(known: Int32Array, from: number): void {
    for (let at = from; at < known.length; at++) {
      const draft = this.drafter.draft(known.subarray(0, at), 1)
      if (draft === undefined) continue
      const before = this.#rightOf(draft.evidence)
      const right = draft.tokens[0] === known[at] ? 1 : 0
      this.#right[draft.evidence] = before + (right - before) * weight
    }
  }

  account({ drafts, isAlone, rows }: Answered, tokens: number, dropped: number, { loop, others }: Traffic): void {
    const oneMs = LoopTime.oneRowMs(loop)
    if (tokens === 0 || oneMs === undefined) return
    this.#plainMs += tokens * oneMs
    this.#drafted = drafts > 0 ? this.#drafted + 1 : 0
    if (drafts === 0) return
    // Behind another window of its answer, a window ends as much later as its own time in one stage.
    const tookMs = isAlone ? (LoopTime.expectedMs(loop, rows) ?? oneMs) : loop.ownMs
    const heldUpMs = others * Math.max(0, tookMs - oneMs)
    this.#lossMs += tookMs + heldUpMs + dropped * loop.ownMs - tokens * oneMs
  }

  pace(known: Int32Array, { loop, others }: Traffic): Pace {
    const oneMs = LoopTime.oneRowMs(loop)
    const mayLoseMs = this.#plainMs * lossShare - this.#lossMs
    if (oneMs === undefined || mayLoseMs < 0 || this.#drafted >= draftedMax) return still
    const draft = this.drafter.draft(known, 1)
    if (draft === undefined) return still
    const best = this.#best(draft.evidence, oneMs, { loop, others })
    return best.perMs * oneMs > gainLeast ? best.pace : trial(loop, oneMs, mayLoseMs / (others + 1))
  }

  #rightOf(evidence: number): number {
    return Math.min(rightMost, this.#right[evidence] ?? 0)
  }

  /** Returns what gives the most tokens in a millisecond, less those that others lose by it. */
  #best(evidence: number, oneMs: number, { loop, others }: Traffic): { readonly pace: Pace; readonly perMs: number } {
    const first = this.#rightOf(evidence)
    // Behind a guess that was right the next one is founded better.
    const further = Math.max(first, this.#rightOf(evidenceMax))
    let best = { pace: still, perMs: 0 }
    for (const rows of rowsTried) {
      const rowsMs = LoopTime.expectedMs(loop, rows) ?? Number.POSITIVE_INFINITY
      for (const windows of windowsTried) {
        const drafts = rows * windows - 1
        const tokens = 1 + (first * (1 - further ** drafts)) / (1 - further)
        const tookMs = rowsMs + (windows - 1) * loop.ownMs
        const lost = (others * Math.max(0, tookMs - oneMs)) / oneMs
        const perMs = (tokens - lost) / tookMs
        if (perMs > best.perMs) best = { pace: { rows, windows }, perMs }
      }
    }
    return best
  }
}

/**
 * Returns the longest window that loses no more than it may where its drafts are wrong: times do not stay as they
 * were.
 */
const trial = (loop: LoopTime.LoopTime, oneMs: number, mayLoseMs: number): Pace => {
  const rows = rowsTried.findLast((rows) => (LoopTime.expectedMs(loop, rows) ?? oneMs * rows) - oneMs <= mayLoseMs) ?? 1
  return { rows, windows: 1 }
}
