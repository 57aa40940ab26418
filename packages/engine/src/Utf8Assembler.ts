/**
 * Turns a model's bytes into text. Tokens end in the middle of characters, so a stream of them is cut anywhere; each
 * push gives the characters that are whole and keeps the rest, at most 3 bytes, for the next one.
 */

/** Represents the text of one answer as it grows; it is used by one answer only and ends with `flush`. */
export interface Utf8Assembler {
  /** Returns the characters that `bytes` complete; what cannot be UTF-8 becomes U+FFFD, never lost or doubled. */
  readonly push: (bytes: Uint8Array) => string
  /** Returns what is left: empty, or U+FFFD for a character that never came to its end. */
  readonly flush: () => string
}

/** Returns an empty assembler; all its output joined is what `new TextDecoder().decode` gives for all its input. */
export const make = (): Utf8Assembler => {
  const decoder = new TextDecoder("utf-8")
  // Behind an ASCII byte the decoder holds nothing back, and no byte order mark is the text's first any more.
  let isBetween = false
  return {
    push: (bytes) => {
      if (isBetween && bytes.every(isAscii)) return String.fromCharCode(...bytes)
      const last = bytes.at(-1)
      if (last !== undefined) isBetween = isAscii(last)
      return decoder.decode(bytes, { stream: true })
    },
    flush: () => decoder.decode()
  }
}

// internal

const isAscii = (byte: number): boolean => byte < 0x80
