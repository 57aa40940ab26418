/**
 * How far to guess ahead so that an answer gets the most tokens in a millisecond, by how often guesses are right and
 * how long windows and guesses take. Pure; `DraftPlan.ts` decides with it.
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
  /** Milliseconds that are lost where the first guess is wrong. */
  readonly riskMs: number
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
  /** What may be lost at most. */
  readonly mayLoseMs: number
}

/** No guesses. */
export const resting: Course = { ...still, waits: false, lead: 0 }

/** Nothing is known to gain anything. */
export const none: Gain = { course: resting, perMs: 0, riskMs: 0 }

/** Returns the best way to send guesses that cost nothing. */
export const ofFree = ({ first, further }: Free, oneMs: number, { loop, others }: Traffic): Gain => {
  let best = none
  for (const rows of rowsTried) {
    const rowsMs = LoopTime.expectedMs(loop, rows) ?? Number.POSITIVE_INFINITY
    for (const windows of windowsTried) {
      const drafts = rows * windows - 1
      const tokens = 1 + (first * (1 - further ** drafts)) / (1 - further)
      const tookMs = rowsMs + (windows - 1) * loop.ownMs
      const lost = (others * Math.max(0, tookMs - oneMs)) / oneMs
      const perMs = (tokens - lost) / tookMs
      if (perMs > best.perMs)
        best = { course: { ...resting, rows, windows, by: "lookup" }, perMs, riskMs: tookMs - oneMs }
    }
  }
  return best
}

/** Returns the best way to send guesses of a model that does not risk too much. */
export const ofMade = (made: Made, oneMs: number, traffic: Traffic): Gain => {
  const gains = rowsMade.flatMap((rows) => [
    ...(rows === 1 || traffic.others > 0 ? [] : [together(made, rows, oneMs, traffic)]),
    ...windowsTried.slice(1).map((windows) => behind(made, rows, windows, oneMs, traffic))
  ])
  return gains.reduce((best, one) => (one.perMs > best.perMs && one.riskMs <= made.mayLoseMs ? one : best), none)
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

/** Returns the milliseconds that a window behind others of its answer takes: those of a stage, and of its rows. */
export const windowMs = (loop: LoopTime.LoopTime, oneMs: number, rows: number): number =>
  loop.ownMs + Math.max(0, (LoopTime.expectedMs(loop, rows) ?? oneMs) - oneMs)

// internal

/** What is tried: rows of a window, those of a model's guesses, and windows under way. */
const rowsTried = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]
const rowsMade = [1, 2, 3, 4, 6, 8, 12]
const windowsTried = [1, 2, 3, 4, 6, draftWindowsMax]

/** One window at a time, which waits for its guesses where the ones before were wrong. */
const together = ({ right, tokenMs }: Made, rows: number, oneMs: number, { loop }: Traffic): Gain => {
  const rowsMs = LoopTime.expectedMs(loop, rows) ?? Number.POSITIVE_INFINITY
  const all = right ** rows
  const tokens = (1 - all) / (1 - right)
  // Where all were right those of the next window were made meanwhile, or most of them.
  const waitMs = (1 - all) * (rows - 1) * tokenMs + all * Math.max(0, rows * tokenMs - (rowsMs - loop.ownMs))
  const course = { rows, windows: 1, by: "model", waits: true, lead: rows } as const
  const riskMs = rowsMs - oneMs + (rows - 1) * tokenMs + heldUpMs(tokenMs)
  return { course, perMs: tokens / (rowsMs + waitMs + heldUpMs(tokenMs)), riskMs }
}

/** The known token at once, and windows of guesses behind it as they are made. */
const behind = (
  { right, tokenMs }: Made,
  rows: number,
  windows: number,
  oneMs: number,
  { loop, others }: Traffic
): Gain => {
  const ownMs = windowMs(loop, oneMs, rows)
  const cycleMs = rows * tokenMs + ownMs
  let tookMs = oneMs + heldUpMs(tokenMs)
  // A window is waited for where all before it was right.
  for (let window = 1; window < windows; window++) tookMs += right ** ((window - 1) * rows + 1) * cycleMs
  const tokens = (1 - right ** (rows * (windows - 1) + 1)) / (1 - right)
  // Each of their loops is held up, and waits for the windows that are more.
  const lost = (others * ((windows - 1) * ownMs + heldUpMs(tokenMs) * (tookMs / oneMs))) / oneMs
  const course = { rows, windows, by: "model", waits: false, lead: rows } as const
  const riskMs = heldUpMs(tokenMs) + ownMs + others * (ownMs + heldUpMs(tokenMs))
  return { course, perMs: (tokens - lost) / tookMs, riskMs }
}

/** What comes in while a token is made waits for half of its time. */
const heldUpMs = (tokenMs: number): number => tokenMs / 2
