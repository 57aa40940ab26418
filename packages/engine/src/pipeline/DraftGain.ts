/**
 * How far to guess ahead so that an answer gets the most tokens in a millisecond, by how often guesses are right and how
 * long windows and guesses take. Pure; `DraftPlan.ts` decides with it.
 */
import { draftWindowsMax, type Pace, still } from "./JobState.ts"
import * as LoopTime from "./LoopTime.ts"

/** Represents what a window of the answer meets on its way. */
export interface Traffic {
  readonly loop: LoopTime.LoopTime
  /** Other answers, all of which wait where a stage computes longer for this one. */
  readonly others: number
}

/** Represents how an answer is guessed ahead. */
export interface Course extends Pace {
  /** The last known token waits for the drafts of its window; without this it goes at once, and they follow it. */
  readonly waits: boolean
  /** Tokens that the model is to have ready behind those under way; with 0 it rests. */
  readonly lead: number
}

/** Represents a course and what it gives. */
export interface Gain {
  readonly course: Course
  /** Tokens in a millisecond, less those that others lose by it. */
  readonly perMs: number
}

/** Represents guesses that are there as soon as they are wanted. */
export interface Free {
  /** Share of first guesses that are right, and of those behind guesses that were; less than 1. */
  readonly first: number
  readonly further: number
}

/** Represents guesses of a model, one after the other, in the time of the first stage. */
export interface Made {
  /** Share that is right, less than 1. */
  readonly right: number
  /** Milliseconds of each. */
  readonly tokenMs: number
}

/** No guesses. */
export const resting: Course = { ...still, waits: false, lead: 0 }

/** Returns the best way to send guesses that cost nothing. */
export const ofFree = ({ first, further }: Free, oneMs: number, { loop, others }: Traffic): Gain => {
  let best: Gain = { course: resting, perMs: 0 }
  for (const rows of rowsTried) {
    const rowsMs = LoopTime.expectedMs(loop, rows) ?? Number.POSITIVE_INFINITY
    for (const windows of windowsTried) {
      const drafts = rows * windows - 1
      const tokens = 1 + (first * (1 - further ** drafts)) / (1 - further)
      const tookMs = rowsMs + (windows - 1) * loop.ownMs
      const lost = (others * Math.max(0, tookMs - oneMs)) / oneMs
      const perMs = (tokens - lost) / tookMs
      if (perMs > best.perMs) best = { course: { ...resting, rows, windows, by: "lookup" }, perMs }
    }
  }
  return best
}

/** Returns the best way to send guesses of a model. */
export const ofMade = (made: Made, oneMs: number, traffic: Traffic): Gain => {
  const gains = rowsMade.flatMap((rows) => [
    ...(rows === 1 || traffic.others > 0 ? [] : [together(made, rows, traffic)]),
    ...windowsTried.slice(1).map((windows) => behind(made, rows, windows, oneMs, traffic))
  ])
  return gains.reduce((best, one) => (one.perMs > best.perMs ? one : best), { course: resting, perMs: 0 })
}

/** Returns the longest window of rows whose time is at most that of one row and `moreMs`. */
export const rowsWithin = (
  loop: LoopTime.LoopTime,
  oneMs: number,
  moreMs: number,
  tokenMs: number
): number | undefined =>
  rowsTried.findLast((rows) => {
    const rowsMs = LoopTime.expectedMs(loop, rows) ?? oneMs * rows
    return rowsMs - oneMs + (rows - 1) * tokenMs <= moreMs
  })

// internal

/** What is tried: rows of a window, those of a model's guesses, and windows under way. */
const rowsTried = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]
const rowsMade = [1, 2, 3, 4, 6, 8, 12]
const windowsTried = [1, 2, 3, 4, 6, draftWindowsMax]

/** One window at a time, which waits for its guesses where the ones before were wrong. */
const together = ({ right, tokenMs }: Made, rows: number, { loop }: Traffic): Gain => {
  const rowsMs = LoopTime.expectedMs(loop, rows) ?? Number.POSITIVE_INFINITY
  const all = right ** rows
  const tokens = (1 - all) / (1 - right)
  // Where all were right those of the next window were made meanwhile, or most of them.
  const waitMs = (1 - all) * (rows - 1) * tokenMs + all * Math.max(0, rows * tokenMs - (rowsMs - loop.ownMs))
  const course = { rows, windows: 1, by: "model", waits: true, lead: rows } as const
  return { course, perMs: tokens / (rowsMs + waitMs + heldUpMs(tokenMs)) }
}

/** The known token at once, and windows of guesses behind it as they are made. */
const behind = (
  { right, tokenMs }: Made,
  rows: number,
  windows: number,
  oneMs: number,
  { loop, others }: Traffic
): Gain => {
  const cycleMs = rows * tokenMs + loop.ownMs
  let tookMs = oneMs + heldUpMs(tokenMs)
  // A window is waited for where all before it was right.
  for (let window = 1; window < windows; window++) tookMs += right ** ((window - 1) * rows + 1) * cycleMs
  const tokens = (1 - right ** (rows * (windows - 1) + 1)) / (1 - right)
  const lost = (others * ((windows - 1) * loop.ownMs + heldUpMs(tokenMs))) / oneMs
  const course = { rows, windows, by: "model", waits: false, lead: rows } as const
  return { course, perMs: (tokens - lost) / tookMs }
}

/** What comes in while a token is made waits for half of its time. */
const heldUpMs = (tokenMs: number): number => tokenMs / 2
