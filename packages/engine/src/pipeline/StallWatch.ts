/**
 * Looks for windows that nothing was heard of for too long, once an epoch. Where a later stage says that it works they
 * are waited for, but not for ever: it may lie. Sans I/O; owned by the jobs of a pipeline.
 */
import * as LoopTime from "./LoopTime.ts"

/** Represents the windows of one answer that the stages have. */
export interface Awaited {
  /** Of the longest. */
  readonly rows: number
  /** When something of the answer last came in or went out. */
  readonly movedMs: number
}

/** Represents the watch over the windows of all answers. */
export class StallWatch {
  /** The stall of this epoch was told. */
  #isTold = false
  /** When a later stage said last that it works. */
  #workedMs = Number.NEGATIVE_INFINITY

  /** Windows are given up `stallMs` after the last word of any stage. */
  constructor(private readonly stallMs: number) {}

  /** A new epoch begins. */
  begin(): void {
    this.#isTold = false
  }

  /** Takes note that a later stage says that it works. */
  worked(nowMs: number): void {
    this.#workedMs = nowMs
  }

  /** Returns why the pipeline does not go on; undefined where it may, or where that was told. */
  look(answers: ReadonlyArray<Awaited>, loop: LoopTime.LoopTime, nowMs: number): string | undefined {
    if (this.#isTold) return undefined
    const expectedMs = LoopTime.expectedMs(loop, Math.max(0, ...answers.map(({ rows }) => rows)))
    // A window waits behind those of all other answers at most.
    const waitMsMax = expectedMs === undefined ? unmeasuredMsMax : measuredMsMax + expectedMs * (answers.length + 1)
    const isQuiet = nowMs - this.#workedMs > this.stallMs
    const quietMsMax = isQuiet ? this.stallMs : waitMsMax
    const stuck = answers.find(({ movedMs }) => nowMs - movedMs > quietMsMax)
    if (stuck === undefined) return undefined
    this.#isTold = true
    return `no stage was heard of for ${((nowMs - stuck.movedMs) / 1000).toFixed(1)} s with windows under way`
  }
}

// internal

/**
 * Longest wait for a window of stages that say they work, where nothing was measured: one reads its weights from a disk
 * at its first window, 12 GB at 100 MB/s.
 */
const unmeasuredMsMax = 120_000
/** Longest wait for such a window beyond the time that was measured: a computer may have become busy. */
const measuredMsMax = 30_000
