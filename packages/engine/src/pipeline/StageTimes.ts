/** What one row takes in a layer of a stage, from its last turns. Pure apart from its own memory. */

/** Turns that count: some seconds of an answer, so that a computer that became busy shows soon. */
const turnsMax = 32

/** Gathers the turns of one stage. */
export class StageTimes {
  readonly layers: number
  readonly #seconds: Array<number> = []
  /** Windows of a single row and of more that went in since the last turn. */
  #single = 0
  #other = 0

  constructor(layers: number) {
    this.layers = layers
  }

  /** Notes that a window of `rows` rows goes in. */
  sent(rows: number): void {
    if (rows === 1) this.#single++
    else this.#other++
  }

  /** Notes a turn; it counts, and true is returned, where it can only have computed one row. */
  turned(seconds: number): boolean {
    const counts = this.#single === 1 && this.#other === 0
    if (counts) {
      this.#seconds.push(seconds)
      if (this.#seconds.length > turnsMax) this.#seconds.shift()
    }
    this.#single = 0
    this.#other = 0
    return counts
  }

  /** The median, in milliseconds per layer; none before the first turn that counts. */
  msPerLayer(): number | null {
    const sorted = this.#seconds.toSorted((one, other) => one - other)
    const median = sorted[Math.floor(sorted.length / 2)]
    return median === undefined ? null : (median * 1_000) / this.layers
  }
}
