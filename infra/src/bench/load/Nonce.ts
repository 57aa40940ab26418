/**
 * What tells one answer from all others: a few words that the bundled model repeats. An answer that begins with the
 * words of another request has crossed. Pure.
 */
import type { Seeded } from "../Seeded.ts"

/** Words that the model was trained to repeat (`packages/engine/models/train.py`). */
const words = [
  ...["fox", "owl", "hare", "bear", "otter", "heron", "mouse", "goat", "crow", "seal", "lynx", "toad", "deer", "duck"],
  ...[
    "small",
    "brave",
    "quiet",
    "curious",
    "clever",
    "gentle",
    "tired",
    "happy",
    "lonely",
    "patient",
    "lantern",
    "key"
  ],
  ...["map", "kite", "drum", "boat", "bell", "book", "basket", "compass", "forest", "valley", "harbour", "village"],
  ...["meadow", "mountain", "library", "garden", "river", "market"]
] as const

/** Three million orders of four of them, and the model repeats all of them without a mistake. */
const wordsOfNonce = 4

/** Returns a nonce that `taken` does not have. */
export const draw = (chance: Seeded, taken: ReadonlySet<string>): string => {
  while (true) {
    const left: Array<string> = [...words]
    const drawn = Array.from({ length: wordsOfNonce }, () => left.splice(chance.below(left.length), 1)[0] ?? "")
    const nonce = drawn.join(" ")
    if (!taken.has(nonce)) return nonce
  }
}

/** Returns the prompt whose answer begins with `nonce`. */
export const promptOf = (nonce: string): string => `Repeat: ${nonce}`

/**
 * Returns whose answer `text` is: `own`; `crossed`, with the words of another request of `asked`; `misspelt`, the
 * model's own mistake; `short`, where it ends before its words could be told from others.
 */
export const judge = (
  text: string,
  nonce: string,
  asked: ReadonlySet<string>
): "own" | "crossed" | "misspelt" | "short" => {
  const begun = text.trimStart().split(/[^a-z]+/i)
  // The word at the end of a text that goes on may be half a word.
  if (begun.length <= wordsOfNonce) return nonce.startsWith(text.trim()) ? "short" : "misspelt"
  const said = begun.slice(0, wordsOfNonce).join(" ")
  return said === nonce ? "own" : asked.has(said) ? "crossed" : "misspelt"
}
