/** Whose native speed is measured next, and whether now. Pure; `Baseline.ts` feeds it and carries it out. */
import type { NativeFigures } from "@weft/mesh/ModelDescription"
import { runsMax } from "./BaselineFigures.ts"

/** Represents one model in the line. */
export interface Candidate {
  /** Since when it can answer, milliseconds since 1970; undefined while it loads or starts again. */
  readonly readySinceMs: number | undefined
  /** What its speed depends on now. */
  readonly setup: string
  readonly known: { readonly setup: string; readonly figures: NativeFigures } | undefined
  /** When it was last tried, however that ended. */
  readonly triedAtMs: number | undefined
}

/** Represents how long things wait, in milliseconds. */
export interface BaselineTimes {
  /** From ready to the first completion: a peer that just came has better to do. */
  readonly afterReadyMs: number
  /** From one whole measurement to the next. */
  readonly everyMs: number
  /** From a try that gave less than all completions to the next. */
  readonly againMs: number
}

/** Returns when a model is due; undefined while it cannot answer. */
export const dueMs = (candidate: Candidate, times: BaselineTimes, nowMs: number): number | undefined => {
  const { known, readySinceMs, setup, triedAtMs } = candidate
  if (readySinceMs === undefined) return undefined
  // what is of the future was written by a clock that was wrong
  const measured = known?.setup === setup && known.figures.measuredAtMs <= nowMs ? known.figures : undefined
  const isWhole = measured !== undefined && measured.runs >= runsMax
  return Math.max(
    readySinceMs + times.afterReadyMs,
    triedAtMs === undefined || triedAtMs > nowMs ? 0 : triedAtMs + times.againMs,
    measured === undefined ? 0 : measured.measuredAtMs + (isWhole ? times.everyMs : times.againMs)
  )
}

/** Returns the model that has been due for longest; undefined where none is, or somebody is being answered. */
export const next = <C extends Candidate>(
  candidates: ReadonlyArray<C>,
  isIdle: boolean,
  times: BaselineTimes,
  nowMs: number
): C | undefined => {
  if (!isIdle) return undefined
  const due = candidates.flatMap((candidate) => {
    const atMs = dueMs(candidate, times, nowMs)
    return atMs === undefined || atMs > nowMs ? [] : [{ candidate, atMs }]
  })
  return due.toSorted((one, other) => one.atMs - other.atMs)[0]?.candidate
}
