/**
 * How one answer is guessed ahead: by whom and how far, as far as it pays. Sans I/O; owned by the pipeline host, one
 * for each job. Guesses of the lookup are compared with what is decided whether they were sent or not, so to learn of
 * them costs nothing; those of a model cost its time, so it rests where it does not pay. What either has lost is kept
 * below a small share of the answer's time.
 */
import { type Drafter, evidenceMax, type Source } from "./Draft.ts"
import * as DraftGain from "./DraftGain.ts"
import type { ModelDrafter } from "./DraftModel.ts"
import type { Answered } from "./JobState.ts"
import * as LoopTime from "./LoopTime.ts"

/** Represents who can guess. */
export interface Drafters {
  readonly lookup: Drafter
  readonly model?: ModelDrafter | undefined
  /** Share of the model's guesses that were right in other answers; a careful guess where absent. */
  readonly modelRight?: number | undefined
}

/** Represents the plan of one answer's drafts. */
export interface DraftPlan {
  /** Learns from the tokens of `known` behind the first `from`, which were decided just now. */
  readonly learn: (known: Int32Array, from: number) => void
  /** Takes into account what a window with so many tokens of answer cost. */
  readonly account: (answered: Answered, tokens: number, dropped: number, traffic: DraftGain.Traffic) => void
  /** Takes into account that the model computed for `tookMs` while the answer went another way. */
  readonly spend: (tookMs: number, traffic: DraftGain.Traffic) => void
  /** Returns how to guess behind `known`. */
  readonly decide: (known: Int32Array, traffic: DraftGain.Traffic) => DraftGain.Course
  /** Share of the model's last guesses that were right. */
  readonly modelRight: () => number
}

/** Returns the plan of an answer of which nothing is known. */
export const make = (drafters: Drafters): DraftPlan => new Plan(drafters)

// internal

/** How often drafts are right before any was compared, by their evidence: carefully guessed for ordinary text. */
const rightAtFirst: ReadonlyArray<number> = [0.3, 0.5, 0.6]
/** The same of a model that somebody chose for the text of another. */
const modelRightAtFirst = 0.6
/** Below this a model is not worth to begin with: it would give a third more tokens at best. */
const modelRightLeast = 0.25
/** Weight of one comparison: the last sixteen or so count. */
const weight = 1 / 16
/** Rates are never taken for better: the next token may be another one. */
const rightMost = 0.98
/**
 * Share of an answer's time that drafts may lose: with the credit and the last trial, which may overrun it, together
 * less than the fiftieth that an owner may be promised, in each of 1,600 simulated worlds.
 */
const lossShare: Readonly<Record<Source, number>> = { lookup: 0.008, model: 0.003 }
/** Drafts must gain this much: times are rough. */
const gainLeast = 1.03
/** A trial comes before nothing and behind all that pays. */
const trialGain = 1.001
/** Tokens that a model is behind mostly, as one was drawn otherwise, and the part of a loop that more may take. */
const nearTokens = 4
const nearShare = 0.25
/** Part of a loop that may be lost once, to bring the model near and to see what it is worth. */
const creditShare = 0.2
/** Windows with guesses after which one goes without, to see what that takes now. */
const guessedMax = 64

class Plan implements DraftPlan {
  readonly #right = Array.from({ length: evidenceMax + 1 }, (_, evidence) => rightAtFirst[evidence] ?? 0)
  #modelRight: number
  /** Tokens were decided. */
  #isBegun = false
  /** Milliseconds that the answer would have taken without drafts, and that they took more: less than 0 is a gain. */
  #plainMs = 0
  readonly #lossMs: Record<Source, number> = { lookup: 0, model: 0 }
  /** Since a window without guesses. */
  #guessed = 0
  /** Windows of the model were dropped, which may hold the next one up, whoever guesses for it. */
  #isStirred = false

  constructor(private readonly drafters: Drafters) {
    this.#modelRight = drafters.modelRight ?? modelRightAtFirst
  }

  learn(known: Int32Array, from: number): void {
    const { lookup, model } = this.drafters
    this.#isBegun = true
    for (let at = from; at < known.length; at++) {
      const before = known.subarray(0, at)
      const found = lookup.draft(before, 1)
      if (found !== undefined) {
        const right = this.#right[found.evidence] ?? 0
        this.#right[found.evidence] = learnt(right, found.tokens[0] === known[at])
      }
      const made = model?.draft(before, 1)
      if (made !== undefined) this.#modelRight = learnt(this.#modelRight, made.tokens[0] === known[at])
    }
  }

  account(answered: Answered, tokens: number, dropped: number, traffic: DraftGain.Traffic): void {
    const { by, drafts, isClear } = answered
    const { loop } = traffic
    const oneMs = LoopTime.oneRowMs(loop)
    if (tokens === 0 || oneMs === undefined) return
    this.#plainMs += tokens * oneMs
    const isPlain = by === undefined || (by === "lookup" && drafts === 0)
    if (!isPlain) this.#guessed++
    else if (isClear) this.#guessed = 0
    if (by === "lookup" && (drafts > 0 || dropped > 0))
      this.#lossMs.lookup +=
        lookupLossMs(answered, tokens, oneMs, traffic) +
        dropped * loop.ownMs +
        othersMs(answered, dropped, oneMs, traffic)
    if (by === "model" || (this.#isStirred && !isClear)) this.#lossMs.model += modelLossMs(answered, tokens, oneMs)
    if (by === "model") this.#lossMs.model += othersMs(answered, dropped, oneMs, traffic)
    this.#isStirred = by === "model" && dropped > 0
  }

  spend(tookMs: number, { loop, others }: DraftGain.Traffic): void {
    const oneMs = LoopTime.oneRowMs(loop)
    if (oneMs === undefined) return
    // What comes in during this time waits for half of it.
    this.#lossMs.model += tookMs * Math.min(1, tookMs / (2 * oneMs)) * (others + 1)
  }

  decide(known: Int32Array, traffic: DraftGain.Traffic): DraftGain.Course {
    const oneMs = LoopTime.oneRowMs(traffic.loop)
    if (oneMs === undefined) return this.#awaiting(known)
    if (this.#guessed >= guessedMax) return DraftGain.resting
    const found = this.#ofLookup(known, oneMs, traffic)
    const { model } = this.drafters
    if (model === undefined || !model.goesOn()) return found.course
    const made = this.#ofModel(model, known, oneMs, traffic)
    if (made.perMs <= found.perMs) return found.course
    if (isNearBy(model, known, oneMs)) return made.course
    return this.#mayLoseMs("model") + oneMs * creditShare > 0 ? { ...found.course, lead: 1 } : found.course
  }

  modelRight(): number {
    return this.#modelRight
  }

  /** Before a plain row was measured: the model reads the prompt while the stages do, and then makes room. */
  #awaiting(known: Int32Array): DraftGain.Course {
    const { model } = this.drafters
    const isFar = model !== undefined && !isNearBy(model, known, 0)
    const mayRead = isFar && !this.#isBegun && this.#modelRight >= modelRightLeast
    return mayRead ? { ...DraftGain.resting, lead: 1 } : DraftGain.resting
  }

  #ofLookup(known: Int32Array, oneMs: number, traffic: DraftGain.Traffic): DraftGain.Gain {
    const plain = { ...DraftGain.none, perMs: 1 / oneMs }
    const mayLoseMs = this.#mayLoseMs("lookup")
    const draft = mayLoseMs < 0 ? undefined : this.drafters.lookup.draft(known, 1)
    if (draft === undefined) return plain
    const first = this.#rightOf(draft.evidence)
    // Behind a guess that was right the next one is founded better.
    const further = Math.max(first, this.#rightOf(evidenceMax))
    const best = DraftGain.ofFree({ first, further }, oneMs, traffic)
    if (best.perMs * oneMs > gainLeast) return best
    const rows = DraftGain.rowsWithin(traffic.loop, oneMs, mayLoseMs / (traffic.others + 1), 0) ?? 1
    return { ...plain, course: { ...DraftGain.resting, rows, by: "lookup" } }
  }

  #ofModel(model: ModelDrafter, known: Int32Array, oneMs: number, traffic: DraftGain.Traffic): DraftGain.Gain {
    const mayLoseMs = this.#mayLoseMs("model") + oneMs * creditShare
    if (mayLoseMs < 0) return DraftGain.none
    const tokenMs = model.tokenMs()
    const right = Math.min(rightMost, this.#modelRight)
    const best = DraftGain.ofMade({ right, tokenMs, mayLoseMs }, oneMs, traffic)
    if (best.perMs * oneMs > gainLeast) return best
    // It is tried where that can be borne, with all that it has to compute before.
    const restMs = mayLoseMs - model.behind(known) * tokenMs
    const rows = DraftGain.rowsWithin(traffic.loop, oneMs, restMs, tokenMs) ?? 1
    if (rows === 1) return DraftGain.none
    const course = { rows, windows: 1, by: "model", waits: true, lead: rows } as const
    return { course, perMs: trialGain / oneMs, riskMs: mayLoseMs }
  }

  #mayLoseMs(source: Source): number {
    return this.#plainMs * lossShare[source] - this.#lossMs[source]
  }

  #rightOf(evidence: number): number {
    return Math.min(rightMost, this.#right[evidence] ?? 0)
  }
}

/** Tells whether the model has computed so much of `known` that the rest passes unnoticed. */
const isNearBy = (model: ModelDrafter, known: Int32Array, oneMs: number): boolean => {
  const behind = model.behind(known)
  return behind <= nearTokens || behind * model.tokenMs() <= oneMs * nearShare
}

const learnt = (before: number, isRight: boolean): number => before + ((isRight ? 1 : 0) - before) * weight

/** Returns what a window took more, by the clock; prompts and what is computed anew are no matter of the model. */
const modelLossMs = ({ drafts, isAlone, rows, sinceMs }: Answered, tokens: number, oneMs: number): number => {
  if (rows - drafts > 1) return 0
  // Where no guess was right, what took less than usual is luck.
  return Math.max(isAlone && tokens === 1 ? 0 : Number.NEGATIVE_INFINITY, sinceMs - tokens * oneMs)
}

/** Returns what the other answers lose by a window and by those that were dropped behind it. */
const othersMs = (
  { drafts, rows }: Answered,
  dropped: number,
  oneMs: number,
  { loop, others }: DraftGain.Traffic
): number => {
  const busy = Math.min(1, ((others + 1) * loop.ownMs) / oneMs)
  return others * (dropped + (drafts > 0 ? 1 : 0)) * DraftGain.windowMs(loop, oneMs, rows) * busy
}

/** Returns what a window of the lookup's guesses took more than its tokens would have taken without. */
const lookupLossMs = (
  { isAlone, rows }: Answered,
  tokens: number,
  oneMs: number,
  { loop }: DraftGain.Traffic
): number => {
  // Behind another window of its answer, a window ends as much later as its own time in one stage.
  const tookMs = isAlone ? (LoopTime.expectedMs(loop, rows) ?? oneMs) : loop.ownMs
  return tookMs - tokens * oneMs
}
