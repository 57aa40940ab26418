/**
 * How a peer divides its memory among the models it was given: what it serves at once, what it keeps as a standby, and
 * what it lends layers of. Pure; `Models.ts` carries it out.
 */

/** Represents a model file and what it takes when it is loaded whole. */
export interface Given {
  readonly needBytes: number
  /** Its owner wants it lent in layers, however much memory there is. */
  readonly isLent: boolean
}

/** What becomes of a model when the peer starts. */
export type Part = "worker" | "standby" | "lent"

/** Represents the division. */
export interface SoloShare {
  /** Of each given model, in their order. */
  readonly parts: ReadonlyArray<Part>
  /** What models that are loaded whole may take together, whoever chooses them. */
  readonly usableBytes: number
  /** What stages may take together. */
  readonly lentBytes: number
}

/** Memory that stays free on computers of less than 16 GiB, in bytes: the system and its owner need some. */
const marginBytes = 2 ** 30
/** Total memory from which twice as much stays free. */
const largeBytes = 16 * 2 ** 30

/** Returns what may be used of `availableBytes`, at most what the owner lends where that is said. */
export const usable = (availableBytes: number, totalBytes: number, lentBytes: number | undefined): number =>
  Math.min(
    lentBytes ?? Number.POSITIVE_INFINITY,
    Math.max(0, availableBytes - (totalBytes < largeBytes ? marginBytes : 2 * marginBytes))
  )

/**
 * Returns the division: models are served in their order as long as there is room. The others are standbys where they
 * could take the place of those; layers are lent of what never fits. Stages and whole models have separate memory, so
 * that no election takes what is lent.
 */
export const divide = (given: ReadonlyArray<Given>, memoryBytes: number): SoloShare => {
  let takenBytes = 0
  const isWhole = given.map(({ isLent, needBytes }) => {
    const fits = !isLent && takenBytes + needBytes <= memoryBytes
    if (fits) takenBytes += needBytes
    return fits
  })
  const isLending = given.some(({ isLent, needBytes }) => isLent || needBytes > memoryBytes)
  const usableBytes = isLending ? takenBytes : memoryBytes
  const parts = given.map(({ isLent, needBytes }, index): Part => {
    if (isWhole[index] === true) return "worker"
    return isLent || needBytes > usableBytes ? "lent" : "standby"
  })
  return { parts, usableBytes, lentBytes: isLending ? memoryBytes - takenBytes : 0 }
}
