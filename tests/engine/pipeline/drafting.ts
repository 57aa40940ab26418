/**
 * A draft model without a model: a stage loop whose one stage is an oracle that agrees with another one as often as it
 * is told, and takes its time.
 */
import * as DraftModel from "@weft/engine/pipeline/DraftModel"
import type { Guessing } from "@weft/engine/pipeline/JobDrafts"
import type { Close, Open, StageFrame, Window } from "@weft/engine/pipeline/StageFrame"
import type { StageLoop } from "@weft/engine/pipeline/StageLoop"
import { type Oracle, seeded, type Tail, tail, vocabularyTokens } from "./tailing.ts"

/** Returns an oracle that says what `oracle` does in this share of the places, and something else in the others. */
export const agreeing =
  (oracle: Oracle, share: number): Oracle =>
  (history) => {
    const token = oracle(history)
    return seeded(history.length * 31 + token)() < share ? token : (token + 1) % vocabularyTokens
  }

/**
 * Returns a loop with that many slots that computes one window a turn; `compute` is told of its rows. It is the last
 * stage, unless it passes frames on.
 */
export const oracleLoop = (
  oracle: Oracle,
  slots: number,
  compute: (rows: number) => void,
  passesOn = false
): StageLoop => {
  const jobs = new Map<number, Tail>()
  const windows: Array<Window> = []
  const due: Array<StageFrame> = []
  const open = ({ epoch, job, terms }: Open): void => {
    if (jobs.has(job) || jobs.size >= slots) throw new Error(`job ${job} takes a slot too many`)
    jobs.set(job, tail(oracle, terms, epoch))
  }
  return {
    idle: () => windows.length === 0 && due.length === 0,
    waiting: () => windows.length,
    submit: (frame: Open | Window | Close) => {
      if (passesOn && frame.kind !== "window") due.push(frame)
      if (frame.kind === "open") open(frame)
      else if (frame.kind === "close") jobs.delete(frame.job)
      else windows.push(frame)
    },
    turn: () => {
      const window = windows.shift()
      // `tail` drops a window of a round that is over, as a loop does.
      const answered = window === undefined ? undefined : jobs.get(window.job)?.take(window)
      if (window !== undefined && answered !== undefined) compute(window.tokens.length)
      const given = passesOn ? window : answered
      if (answered !== undefined && given !== undefined) due.push(given)
      return due.splice(0)
    }
  }
}

/** Represents a draft model of a test. */
export interface Drafting {
  readonly oracle: Oracle
  readonly slots: number
  readonly contextTokens: number
  /** Milliseconds of one token; more rows cost a fifth of it each. */
  readonly tokenMs: number
}

/** Returns who guesses where there is such a model; `spend` is told the milliseconds that it computes. */
export const guessing = (
  { contextTokens, oracle, slots, tokenMs }: Drafting,
  now: () => number,
  spend: (ms: number) => void
): Guessing => {
  const loop = oracleLoop(oracle, slots, (rows) => spend(tokenMs * (1 + (rows - 1) / 5)))
  return { speculates: true, model: DraftModel.make({ loop, contextTokens, vocabularyTokens, tokenMs, now }) }
}
