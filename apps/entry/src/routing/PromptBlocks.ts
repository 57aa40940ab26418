/**
 * A prompt as the router sees it: a chain of hashes over its bytes, so that prompts which begin alike have their first
 * blocks in common, and one hash of the conversation it belongs to. No text is kept. Pure.
 */
import type { Prompt } from "@weft/engine/Generation"

/** Represents a prompt by its hashes. */
export interface PromptBlocks {
  /** A hash for each whole block of `blockBytes`, over all that stands before its end; another model's differ. */
  readonly blocks: ReadonlyArray<number>
  /** Tokens of the prompt, estimated from its bytes. */
  readonly tokens: number
  /** Hash of who asks and how the chat begins, up to the first words of its user; undefined where it is no chat. */
  readonly conversation: number | undefined
}

/** Bytes of one block; about 64 tokens of English text. */
const blockBytes = 256
/** Bytes of a token, on average over English text and common vocabularies. */
const bytesPerToken = 4
/** Tokens of one block, estimated. */
export const tokensPerBlock = blockBytes / bytesPerToken
/** Most blocks that are hashed: 64 KiB, more than most models' contexts; the rest of a prompt is new anyway. */
const blocksMax = 256

/** Returns a prompt's hashes; the order of messages, their roles and texts count. */
export const of = (model: string, caller: string, prompt: Prompt): PromptBlocks => {
  const seed = Bun.hash.xxHash32(model)
  if (prompt._tag === "Tokens") {
    const bytes = new Uint8Array(Int32Array.from(prompt.tokens.slice(0, (blocksMax * blockBytes) / 4)).buffer)
    // Four bytes hold one token here.
    return { blocks: chain(bytes, seed), tokens: prompt.tokens.length, conversation: undefined }
  }
  if (prompt._tag === "Text") {
    const { text } = prompt
    return { blocks: chain(rendered(text), seed), tokens: tokensOf(text.length), conversation: undefined }
  }
  let text = ""
  let characters = 0
  for (const { content, role } of prompt.messages) {
    characters += content.length + messageCharacters
    if (text.length < blocksMax * blockBytes) text += `${role}\n${content}\n`
  }
  return {
    blocks: chain(rendered(text), seed),
    tokens: tokensOf(characters),
    conversation: conversationOf(model, caller, prompt.messages)
  }
}

// internal

/** What a template adds to a message, in characters. */
const messageCharacters = 16

const tokensOf = (characters: number): number => Math.ceil(characters / bytesPerToken)

const encoder = new TextEncoder()
/** Used for one prompt at a time; nothing of it is kept. */
const room = new Uint8Array(blocksMax * blockBytes)

const rendered = (text: string): Uint8Array => room.subarray(0, encoder.encodeInto(text, room).written)

const chain = (bytes: Uint8Array, seed: number): ReadonlyArray<number> => {
  const blocks: Array<number> = []
  let before = seed
  for (let end = blockBytes; end <= bytes.length; end += blockBytes) {
    before = Bun.hash.xxHash32(bytes.subarray(end - blockBytes, end), before)
    blocks.push(before)
  }
  return blocks
}

type Messages = Extract<Prompt, { readonly _tag: "Chat" }>["messages"]

const conversationOf = (model: string, caller: string, messages: Messages): number => {
  let text = `${model}\n${caller}`
  for (const { content, role } of messages) {
    text += `\n${role}\n${content.length > blockBytes ? `${content.length} ${content.slice(0, blockBytes)}` : content}`
    if (role === "user" || text.length > blockBytes * blocksMax) break
  }
  const low = Bun.hash.xxHash32(text)
  // 53 bits, as many as a number holds: two conversations of one entry never have the same.
  return (Bun.hash.xxHash32(text, low) & 0x1f_ffff) * 2 ** 32 + low
}
