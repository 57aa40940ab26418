/**
 * What a routing policy is: a pure choice among peers that may all be asked, with its explanation. Who may be asked is
 * settled before (`Eligible.ts`), what becomes of the choice is the router's business (`Router.ts`).
 */
import type { PeerId } from "@weft/mesh/PeerId"
import type { Mode } from "../performance/PerformanceState.ts"
import type { Pace } from "./Pace.ts"
import type { PromptBlocks } from "./PromptBlocks.ts"

/** Represents a peer that may be asked, as it is now. */
export interface Candidate {
  readonly peer: PeerId
  readonly mode: Mode
  /** Answers that its model gives at once; at least 1. */
  readonly slots: number
  /** Answers that it gives to this entry now. */
  readonly inFlight: number
  /** Answers that it gives and queues for others, as it says. */
  readonly elsewhere: number
  /** Smoothed round trip; undefined while not measured. */
  readonly rttMs: number | undefined
  /** When it was last given a request, milliseconds since 1970; 0 for never. */
  readonly lastChosenMs: number
  readonly pace: Pace
  /** Prompt tokens that it was sent and has not computed yet. */
  readonly aheadTokens: number
  /** When the oldest request was sent that it has not begun to answer; undefined where there is none. */
  readonly waitsSinceMs: number | undefined
  /** The prompt that it computes now, as far as can be told: its tokens, and since when. */
  readonly computes: { readonly tokens: number; readonly sinceMs: number } | undefined
  /** Returns how many of a prompt's first blocks it was sent lately. */
  readonly covered: (blocks: ReadonlyArray<number>) => number
}

/** Represents at least one candidate. */
export type Candidates = readonly [Candidate, ...ReadonlyArray<Candidate>]

/** Represents what is asked, and by whom. */
export interface Ask {
  readonly prompt: PromptBlocks
  /** The peer that answered this conversation last, where that is known and not long ago. */
  readonly lastPeer: PeerId | undefined
}

/** Represents what policies remember. */
export interface PolicyState {
  /** Decisions before this one; draws and turns come from it. */
  readonly turn: number
}

/** Represents what a peer's time to first token is made of, in milliseconds. */
export interface Prediction {
  readonly ttftMs: number
  readonly queueMs: number
  readonly prefillMs: number
  readonly rttMs: number
  /** Prompt tokens that it should not have to compute. */
  readonly cachedTokens: number
}

/** Represents why a peer was chosen. */
export interface Explanation {
  readonly rule: /** Nobody else could be asked. */
    | "only"
    /** It answered this conversation before, and nobody is clearly better. */
    | "conversation"
    /** It is better than all others by more than a measurement can be wrong. */
    | "fastest"
    /** Several are as good, it has the least to do. */
    | "idlest"
    /** Several are as good and all are busy: the better of two drawn. */
    | "drawn"
    /** It was its turn. */
    | "turn"
  /** Peers among which it was chosen. */
  readonly candidates: number
  /** What is expected of it, where the policy predicts. */
  readonly prediction?: Prediction
}

/** Represents a choice. */
export interface Choice<C extends Candidate = Candidate> {
  readonly candidate: C
  readonly explanation: Explanation
}

/** Represents a way to choose. */
export interface Policy {
  /** As it stands in `WEFT_ROUTING`. */
  readonly name: string
  /** Whether it looks at `Ask.prompt`, which costs time to make. */
  readonly readsPrompts: boolean
  /** Chooses one of `candidates`, each of which may be asked. */
  readonly choose: <C extends Candidate>(
    candidates: readonly [C, ...ReadonlyArray<C>],
    ask: Ask,
    state: PolicyState,
    nowMs: number
  ) => Choice<C>
}

/** Returns the share of a candidate's slots that are in use; above 1 where requests wait. */
export const useOf = ({ elsewhere, inFlight, slots }: Candidate): number => (inFlight + elsewhere) / slots

/** Returns the round trip in steps within which it is the same: a busy machine's noise is as large. */
export const rttStepOf = ({ rttMs }: Candidate): number =>
  rttMs === undefined ? Number.MAX_SAFE_INTEGER : Math.floor(rttMs / rttStepMs)

/** Returns the first of a list by `compare`. */
export const least = <C>([first, ...others]: readonly [C, ...ReadonlyArray<C>], compare: (a: C, b: C) => number): C =>
  others.reduce((chosen, next) => (compare(next, chosen) < 0 ? next : chosen), first)

/** Returns two different ones of a list of at least two: draws that spread evenly, the same for the same turn. */
export const drawTwo = <C>(list: ReadonlyArray<C>, turn: number): readonly [C | undefined, C | undefined] => {
  const first = Math.floor(partOf(turn * goldenRatio) * list.length)
  const second = first + 1 + Math.floor(partOf(turn * Math.SQRT2) * (list.length - 1))
  return [list[first], list[second % list.length]]
}

// internal

const rttStepMs = 25

/** Multiples of it, less their whole parts, fill 0…1 evenly (Weyl 1916). */
const goldenRatio = 0.618_033_988_749_895

const partOf = (value: number): number => value - Math.floor(value)
