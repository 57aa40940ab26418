/**
 * The loop of a pipeline as its windows measure it. What all else is compared with is a single row that nothing held
 * up, so one behind drafts, prompts or a turn of the draft model counts only where there was no other for long.
 * Owned by the host's jobs.
 */
import type { Answered } from "./JobState.ts"
import * as LoopTime from "./LoopTime.ts"

/** Represents the measure of a loop; begins with nothing known. */
export class LoopMeter {
  #time = LoopTime.none
  /** When what may hold a single row up was last on its way. */
  #heldUpMs = Number.NEGATIVE_INFINITY
  /** When a single row was measured last, or came first. */
  #plainMs: number | undefined

  /** Returns what is known. */
  time(): LoopTime.LoopTime {
    return this.#time
  }

  /** Forgets the times: the loop is another one from now on. */
  begin(): void {
    this.#time = LoopTime.none
    this.#plainMs = undefined
  }

  /** Takes note that something other than a window has kept the first stage busy until now. */
  heldUp(nowMs: number): void {
    this.#heldUpMs = nowMs
  }

  /** Takes note of the milliseconds that a decode of the first stage took for an answer. */
  tookOwn(tookMs: number): void {
    this.#time = LoopTime.observeOwn(this.#time, tookMs)
  }

  /** Takes note of a window that came back. */
  took({ drafts, isClear, rows, tookMs }: Answered, nowMs: number): void {
    if (drafts > 0 || rows > 1) this.#heldUpMs = nowMs
    if (!isClear) return
    if (rows === 1) {
      this.#plainMs ??= nowMs
      if (nowMs - tookMs < this.#heldUpMs && nowMs - this.#plainMs < plainForMs) return
      this.#plainMs = nowMs
    }
    this.#time = LoopTime.observe(this.#time, rows, tookMs)
  }
}

// internal

/** Longest time without a measured row: then one that was held up is better than none. */
const plainForMs = 10_000
