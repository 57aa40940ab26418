/** What a loaded model says of its vocabulary: tokens of texts, texts of tokens, and which tokens steer it. */
import type { Pointer } from "bun:ffi"
import { int, type Native } from "./Native.ts"

/** Bits of `llama_token_attr` in llama.h. */
const attribute = { unknown: 1 << 0, control: 1 << 3, stripLeft: 1 << 7, stripRight: 1 << 8 } as const
/** Text of one token in bytes; longer ones are asked for again with the length that llama.cpp names. */
const pieceBytes = 64

/** Represents a token that steers the model and may come only from a chat template. */
export interface ControlToken {
  readonly token: number
  readonly text: string
  /** The model eats white space before or after this token's text. */
  readonly stripLeft: boolean
  readonly stripRight: boolean
}

/** Represents the vocabulary of a loaded model. */
export interface LlamaText {
  readonly vocabularyTokens: number
  /** The token each prompt begins with, if the model wants one. */
  readonly firstToken: number | undefined
  /** Texts of the tokens around a text; empty where the model has none. */
  readonly beginText: string
  readonly endText: string
  /** The Jinja template of the file, if it brings one. */
  readonly chatTemplate: string | undefined
  readonly controlTokens: ReadonlyArray<ControlToken>
  /** Bytes of the longest text of a token: `bytes / pieceBytesMax` tokens are the fewest a text can have. */
  readonly pieceBytesMax: number
  /** Returns the tokens of `text`; control tokens written in it stay text unless `control`. */
  readonly tokenize: (text: string, control: boolean) => Int32Array
  /** Returns the bytes of a token's text, which may be part of a character; none for a control token. */
  readonly piece: (token: number) => Uint8Array
  readonly endsAnswer: (token: number) => boolean
}

/** Returns the vocabulary of an open model, which has one: llama.cpp dies of such questions to one without. */
export const make = (native: Native, handle: Pointer): LlamaText => {
  const vocabularyTokens = native.engine_vocabulary(handle)
  const begin = native.token_begin(handle)
  return {
    vocabularyTokens,
    firstToken: begin >= 0 && native.prompt_begins(handle) ? begin : undefined,
    beginText: String(native.token_text(handle, begin)),
    endText: String(native.token_text(handle, native.token_end(handle))),
    chatTemplate: native.chat_template(handle)?.toString(),
    controlTokens: findControlTokens(native, handle, vocabularyTokens),
    pieceBytesMax: longestPiece(native, handle, vocabularyTokens),
    tokenize: (text, control) => tokenize(native, handle, text, control),
    piece: makePiece(native, handle),
    endsAnswer: (token) => native.token_ends(handle, int(token))
  }
}

// internal

const makePiece = (native: Native, handle: Pointer) => {
  const buffer = new Uint8Array(pieceBytes)
  return (token: number): Uint8Array => {
    const count = native.engine_piece(handle, int(token), buffer, buffer.length)
    if (count >= 0) return buffer.slice(0, count)
    const larger = new Uint8Array(-count)
    return larger.subarray(0, native.engine_piece(handle, int(token), larger, larger.length))
  }
}

const tokenize = (native: Native, handle: Pointer, text: string, control: boolean): Int32Array => {
  const bytes = Buffer.from(text)
  if (bytes.length === 0) return new Int32Array(0)
  // A token has at least one byte; some vocabularies put a space in front of the text.
  const tokens = new Int32Array(bytes.length + 8)
  const count = native.engine_tokenize(handle, bytes, bytes.length, tokens, tokens.length, control)
  if (count >= 0) return tokens.subarray(0, count)
  const larger = new Int32Array(-count)
  return larger.subarray(0, native.engine_tokenize(handle, bytes, bytes.length, larger, larger.length, control))
}

const findControlTokens = (native: Native, handle: Pointer, vocabularyTokens: number): ReadonlyArray<ControlToken> => {
  const found: Array<ControlToken> = []
  for (let token = 0; token < vocabularyTokens; token++) {
    const bits = native.token_attributes(handle, token)
    if ((bits & (attribute.control | attribute.unknown)) === 0) continue
    const text = String(native.token_text(handle, token))
    const stripLeft = (bits & attribute.stripLeft) !== 0
    if (text !== "") found.push({ token, text, stripLeft, stripRight: (bits & attribute.stripRight) !== 0 })
  }
  return found
}

const longestPiece = (native: Native, handle: Pointer, vocabularyTokens: number): number => {
  const none = new Uint8Array(1)
  let longest = 1
  for (let token = 0; token < vocabularyTokens; token++) {
    longest = Math.max(longest, Math.abs(native.engine_piece(handle, token, none, none.length)))
  }
  return longest
}
