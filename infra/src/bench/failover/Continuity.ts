/**
 * Whether a text that went on elsewhere is the text it would have been: nothing lost, nothing twice. Pure.
 */

/** Represents how a text differs from the one it should be. */
export interface Continuity {
  /**
   * `same`; `cut`: it ends too early; `lost`: a part is missing and it goes on behind it; `repeated`: a part comes
   * twice; `other`: it goes on with something else.
   */
  readonly kind: "same" | "cut" | "lost" | "repeated" | "other"
  /** Characters of the expected text that did not come: the missing part, the rest of a cut or other text. */
  readonly lostCharacters: number
  readonly repeatedCharacters: number
}

/** Characters by which the place where a text goes on is recognised: fewer are found by chance. */
const windowCharacters = 16

/** Compares `text` with what an uninterrupted answer says. */
export const compare = (text: string, expected: string): Continuity => {
  const common = commonLength(text, expected)
  if (common === expected.length && common === text.length) {
    return { kind: "same", lostCharacters: 0, repeatedCharacters: 0 }
  }
  const left = expected.length - common
  if (common === text.length) return { kind: "cut", lostCharacters: left, repeatedCharacters: 0 }
  const next = text.slice(common, common + windowCharacters)
  const ahead = next.length < windowCharacters ? -1 : expected.indexOf(next, common)
  if (ahead >= 0) return { kind: "lost", lostCharacters: ahead - common, repeatedCharacters: 0 }
  const behind = expected.lastIndexOf(next, common - 1)
  if (behind >= 0) return { kind: "repeated", lostCharacters: 0, repeatedCharacters: common - behind }
  return { kind: "other", lostCharacters: left, repeatedCharacters: 0 }
}

// internal

const commonLength = (left: string, right: string): number => {
  let at = 0
  while (at < left.length && at < right.length && left[at] === right[at]) at++
  return at
}
