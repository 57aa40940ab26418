/**
 * A vocabulary of any size out of a small one: tokenizer, chat template and tokens of a GGUF file, and behind them
 * words that no text is tokenised to but a model with random weights can say. Every word is plain text, so that each
 * token an answer draws is seen as text at once.
 */
import { readFileSync } from "node:fs"
import * as GgufGate from "@weft/engine/GgufGate"
import type { GgufArray } from "@weft/engine/GgufHeader"
import { decode, eachString } from "@weft/engine/GgufReader"
import { fromBytes } from "@weft/engine/GgufSource"
import { Effect } from "effect"
import * as Gguf from "./Gguf.ts"

/** Represents a vocabulary as metadata. */
export interface Vocabulary {
  readonly entries: ReadonlyArray<Gguf.Entry>
  /** Names the tokenizer's metadata. */
  readonly sha256: string
  /** Holds for tokens that an answer must not draw: control tokens, and single bytes, which may be half a character. */
  readonly isSilent: (token: number) => boolean
}

/** `LLAMA_TOKEN_TYPE_NORMAL`. */
const normalToken = 1

/** Returns the vocabulary of the file at `path`, grown to `size` tokens; throws where it is larger already. */
export const read = async (path: string, size: number): Promise<Vocabulary> => {
  const bytes = new Uint8Array(readFileSync(path))
  const { metadata } = await Effect.runPromise(GgufGate.check(fromBytes(bytes)))
  const arrayOf = (key: string): GgufArray => {
    const entry = metadata.get(key)
    if (entry?.type !== "array") throw new Error(`${path} has no ${key}`)
    return entry.value
  }
  const tokens = arrayOf("tokenizer.ggml.tokens")
  const types = arrayOf("tokenizer.ggml.token_type")
  const known: Array<string> = []
  eachString(bytes, tokens, (_, from, to) => void known.push(decode(bytes, from, to)))
  if (known.length > size) throw new Error(`${path} has ${known.length} tokens, more than ${size}`)
  const words = makeWords(size - known.length, new Set(known))
  const elements = ({ offset, sizeBytes }: GgufArray): Uint8Array => bytes.subarray(offset, offset + sizeBytes)
  const grown: Readonly<Record<string, Gguf.Value>> = {
    "tokenizer.ggml.tokens": Gguf.texts(elements(tokens), known.length, words),
    "tokenizer.ggml.token_type": Gguf.int32s(
      elements(types),
      known.length,
      words.map(() => normalToken)
    )
  }
  const entries = [...metadata.values()]
    .filter(({ key }) => key.startsWith("tokenizer."))
    .map(({ key, offset, sizeBytes }): Gguf.Entry => {
      // An entry is the key's length (8 bytes), the key, then type and value.
      const value = bytes.subarray(offset + 8 + Buffer.byteLength(key), offset + sizeBytes)
      return [key, grown[key] ?? value]
    })
  const view = new DataView(bytes.buffer, types.offset, types.sizeBytes)
  const silent = new Set(
    known.flatMap((token, index) =>
      [...token].length === 1 || view.getInt32(index * 4, true) !== normalToken ? [index] : []
    )
  )
  const hasher = new Bun.CryptoHasher("sha256")
  for (const [key, value] of entries) hasher.update(key).update(value)
  return { entries, sha256: hasher.digest("hex"), isSilent: (token) => silent.has(token) }
}

// internal

const consonants = "bcdfghjklmnprstvwxyz"
const vowels = "aeiou"
/** A space in the alphabet of byte-level tokenizers. */
const space = "Ġ"

/** Returns `count` words of three or more syllables, none of them `taken`. */
const makeWords = (count: number, taken: ReadonlySet<string>): ReadonlyArray<string> => {
  const words: Array<string> = []
  for (let number = 0; words.length < count; number++) {
    const word = space + spell(number)
    if (!taken.has(word)) words.push(word)
  }
  return words
}

const spell = (number: number): string => {
  let rest = number
  let word = ""
  for (let syllable = 0; syllable < 3 || rest > 0; syllable++) {
    word += `${consonants[rest % 20]}${vowels[Math.floor(rest / 20) % 5]}`
    rest = Math.floor(rest / 100)
  }
  return word
}
