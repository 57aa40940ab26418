/**
 * How often an address may still be answered by the provider this hour, which the operator pays for. No clock; each
 * step takes `now`. Who began first stands first, so what has passed is always in front.
 */

/** Most addresses at once; with as many, new ones are refused until the hour of an old one is over. */
export const addressesMax = 10_000

/** An address' hour begins with its first answer. */
const hourMs = 3_600_000

/** Represents the budgets of all addresses. */
export class Budget {
  readonly #perHour: number
  readonly #spent = new Map<string, { readonly sinceMs: number; count: number }>()

  /** `perHour` is the number of answers an address may have, 0 for none. */
  constructor(perHour: number) {
    this.#perHour = perHour
  }

  /**
   * Takes one answer of an address; returns what gives it back, to be called once at most, or undefined where its hour
   * has none left.
   */
  take(address: string, nowMs: number): (() => void) | undefined {
    this.#forget(nowMs)
    const known = this.#spent.get(address)
    const isFull = known === undefined ? this.#spent.size >= addressesMax : known.count >= this.#perHour
    if (isFull || this.#perHour === 0) return undefined
    const spent = known ?? { sinceMs: nowMs, count: 0 }
    spent.count++
    if (known === undefined) this.#spent.set(address, spent)
    // of an hour that is over by then nothing is left to give
    return () => void spent.count--
  }

  /** Forgets the hours that are over; a clock that was set back ends those that lie ahead. */
  #forget(nowMs: number): void {
    for (const [address, { sinceMs }] of this.#spent) {
      if (nowMs >= sinceMs && nowMs - sinceMs < hourMs) return
      this.#spent.delete(address)
    }
  }
}
