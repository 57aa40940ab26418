/**
 * When a model that misses its promise is tried on the mesh all the same: else nobody would ever see that it is better
 * by now, or measure one that was never measured. No clock; each step takes `now`.
 */

/** Between two trials of one model: what a slow mesh may cost its clients. */
const everyMs = 60_000
/** Twice the models of a directory; with more, all begin anew. */
const modelsMax = 2_048

/** Remembers when each model was last tried. */
export class Trials {
  readonly #lastMs = new Map<string, number>()

  /** Returns whether this request is the trial of its model; the first one that misses is none yet. */
  isDue(model: string, nowMs: number): boolean {
    const lastMs = this.#lastMs.get(model)
    if (lastMs !== undefined && Math.abs(nowMs - lastMs) < everyMs) return false
    if (this.#lastMs.size >= modelsMax) this.#lastMs.clear()
    this.#lastMs.set(model, nowMs)
    return lastMs !== undefined
  }
}
