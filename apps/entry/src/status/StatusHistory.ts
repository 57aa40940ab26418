/** Hours of measured figures and of counted requests, brought into columns that have an element for each hour. Pure. */
import type { Mode } from "../performance/PerformanceState.ts"
import { hourMs, hourOf, type ShareHour } from "../share/ShareState.ts"
import { type History, modelsShownMax } from "./StatusDocument.ts"

/** Represents what one hour of one model and mode measured. */
export interface MeasuredHour {
  readonly hourMs: number
  readonly model: string
  readonly mode: Mode
  readonly samples: number
  /** Medians. */
  readonly ttftMs: number
  /** None where no answer was long enough to tell a rate. */
  readonly tokensPerSecond: number | null
}

/** Returns the `hours` up to the one of `nowMs`; of a model's modes in one hour the one with more answers counts. */
export const historyOf = (
  measured: ReadonlyArray<MeasuredHour>,
  counted: ReadonlyArray<ShareHour>,
  hours: number,
  nowMs: number
): History => {
  const fromMs = hourOf(nowMs) - (hours - 1) * hourMs
  const columns = new Map<string, Columns>()
  /** More models than are shown are left out. */
  const columnsOf = (model: string): Columns | undefined => {
    const known = columns.get(model)
    if (known !== undefined || columns.size >= modelsShownMax) return known
    const made = emptyColumns(hours)
    columns.set(model, made)
    return made
  }
  const indexOf = (atMs: number): number | undefined => {
    const index = (atMs - fromMs) / hourMs
    return Number.isInteger(index) && index >= 0 && index < hours ? index : undefined
  }
  for (const { hourMs: atMs, model, samples, tokensPerSecond, ttftMs } of measured) {
    const index = indexOf(atMs)
    const into = index === undefined ? undefined : columnsOf(model)
    if (index === undefined || into === undefined || (into.samples[index] ?? 0) >= samples) continue
    into.samples[index] = samples
    into.ttftMs[index] = ttftMs
    into.tokensPerSecond[index] = tokensPerSecond
  }
  for (const { hourMs: atMs, model, requests, servedBy } of counted) {
    const index = indexOf(atMs)
    const into = index === undefined ? undefined : columnsOf(model)
    if (index !== undefined && into !== undefined) into[servedBy][index] = (into[servedBy][index] ?? 0) + requests
  }
  return {
    fromMs,
    hours,
    models: [...columns]
      .toSorted(([one], [other]) => one.localeCompare(other))
      .map(([id, { samples: _, ...rest }]) => ({ id, ...rest }))
  }
}

// internal

interface Columns {
  readonly samples: Array<number>
  readonly ttftMs: Array<number | null>
  readonly tokensPerSecond: Array<number | null>
  readonly mesh: Array<number>
  readonly fallback: Array<number>
  readonly refused: Array<number>
}

const emptyColumns = (hours: number): Columns => {
  const fill = <A>(value: A): Array<A> => Array.from({ length: hours }, () => value)
  return {
    samples: fill(0),
    ttftMs: fill(null),
    tokensPerSecond: fill(null),
    mesh: fill(0),
    fallback: fill(0),
    refused: fill(0)
  }
}
