/** Chance that repeats: every draw of a benchmark comes from one seed, which its figures state. Pure. */

/** Represents a stream of chance. */
export interface Seeded {
  /** Returns the next 32 bits. */
  readonly bits: () => number
  /** Returns a number in 0…1, 1 excluded. */
  readonly unit: () => number
  /** Returns a whole number in 0…`below`, `below` excluded. */
  readonly below: (below: number) => number
  /** Returns one of a list that is not empty. */
  readonly pick: <A>(values: readonly [A, ...ReadonlyArray<A>]) => A
}

/** Returns the stream of `seed`: sfc32 (Chris Doty-Humphrey, PractRand), which passes BigCrush. */
export const make = (seed: number): Seeded => {
  let [a, b, c, count] = [0, seed | 0, 0x9e3779b9, 1]
  const bits = (): number => {
    const sum = (a + b + count++) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = ((c << 21) | (c >>> 11)) + sum
    return sum >>> 0
  }
  // As its author says: the first draws still show the seed.
  for (let round = 0; round < 15; round++) bits()
  const unit = (): number => bits() / 2 ** 32
  const below = (limit: number): number => Math.floor(unit() * limit)
  return { bits, unit, below, pick: (values) => values[below(values.length)] ?? values[0] }
}

/** Returns arrival times in seconds, below `seconds`, of a Poisson process of `perSecond`. */
export const poisson = (seeded: Seeded, perSecond: number, seconds: number): ReadonlyArray<number> => {
  const arrivals: Array<number> = []
  let at = 0
  while (true) {
    at -= Math.log(1 - seeded.unit()) / perSecond
    if (at >= seconds) return arrivals
    arrivals.push(at)
  }
}
