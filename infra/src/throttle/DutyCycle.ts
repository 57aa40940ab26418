/**
 * When a process that shares its computer runs, and when somebody else does. Pure: each turn is a run and the pause
 * behind it, and follows from the manner, the time since the beginning, and chance.
 */
import type * as Seeded from "../bench/Seeded.ts"

/** Represents how a process is held up. */
export type Manner =
  /** A neighbour takes the same part of every turn, 0 … 1. */
  | { readonly kind: "steady"; readonly pausedShare: number }
  /**
   * The same on a clock that several processes share: `phase`, 0 … 1 of a turn, is when this one's turns begin, so that
   * those of others fall into its pauses.
   */
  | { readonly kind: "staggered"; readonly pausedShare: number; readonly phase: number }
  /** Takes nothing at first, and after `overMs` that part. */
  | { readonly kind: "ramp"; readonly pausedShare: number; readonly overMs: number }
  /** Takes over now and then, for a time between these two, both for runs and for pauses. */
  | { readonly kind: "jitter"; readonly leastMs: number; readonly mostMs: number }

/** Represents one turn; both may be fractions. */
export interface Turn {
  readonly runMs: number
  readonly pauseMs: number
}

/** A run and its pause together: some slices of a busy Linux, 3 to 5 ms each, and longer than a timer is late. */
const turnMs = 40

/** Returns the turn that begins `elapsedMs` after the first. */
export const turn = (manner: Manner, elapsedMs: number, chance: Seeded.Seeded): Turn => {
  if (manner.kind === "jitter") {
    const between = (): number => manner.leastMs + chance.unit() * (manner.mostMs - manner.leastMs)
    return { runMs: between(), pauseMs: between() }
  }
  if (manner.kind === "staggered") {
    const runMs = turnMs * (1 - manner.pausedShare)
    const sinceMs = (elapsedMs + turnMs * (1 - manner.phase)) % turnMs
    return { runMs: Math.max(0, runMs - sinceMs), pauseMs: turnMs - Math.max(runMs, sinceMs) }
  }
  const grown = manner.kind === "ramp" ? Math.min(1, elapsedMs / manner.overMs) : 1
  const pauseMs = turnMs * manner.pausedShare * grown
  return { runMs: turnMs - pauseMs, pauseMs }
}
