/** What the router keeps of prompts: blocks that begin alike are alike, and slots are forgotten as an engine does. */
import { expect } from "bun:test"
import type { ChatMessage, Prompt } from "@weft/engine/Generation"
import * as PromptBlocks from "@weft/entry/routing/PromptBlocks"
import { SentPrompts } from "@weft/entry/routing/SentPrompts"
import { Effect, FastCheck } from "effect"
import { it } from "../../support/effect.ts"

const said = (role: ChatMessage["role"], content: string): ChatMessage => ({ role, content })
const chat = (...messages: ReadonlyArray<ChatMessage>): Prompt => ({ _tag: "Chat", messages })
const blocksOf = (prompt: Prompt, model = "tiny", caller = "ann") => PromptBlocks.of(model, caller, prompt)
const long = "Once upon a time. ".repeat(60)

it.effect("the next turn of a chat begins with the blocks of the last one, and is the same conversation", () =>
  Effect.sync(() => {
    const first = blocksOf(chat(said("system", long), said("user", "hello")))
    const next = blocksOf(
      chat(said("system", long), said("user", "hello"), said("assistant", long), said("user", "and then?"))
    )
    expect(first.blocks.length).toBe(4)
    expect(next.blocks.slice(0, 4)).toEqual([...first.blocks])
    expect(next.conversation).toBe(first.conversation)
    const others = [
      blocksOf(chat(said("system", long), said("user", "hallo"))),
      blocksOf(chat(said("system", long), said("user", "hello")), "other"),
      blocksOf(chat(said("system", long), said("user", "hello")), "tiny", "bob")
    ]
    expect(new Set([first, ...others].map(({ conversation }) => conversation)).size).toBe(4)
    expect(others[1]?.blocks[0]).not.toBe(first.blocks[0])
    expect(others[2]?.blocks).toEqual(first.blocks)
  })
)

it.effect("texts, tokens and characters of any size have blocks; of a huge prompt only the beginning is hashed", () =>
  Effect.sync(() => {
    expect(blocksOf({ _tag: "Text", text: "a".repeat(513) })).toMatchObject({ blocks: { length: 2 }, tokens: 129 })
    expect(blocksOf({ _tag: "Text", text: "é".repeat(256) }).blocks.length).toBe(2)
    const tokens = Array.from({ length: 128 }, (_, at) => at)
    expect(blocksOf({ _tag: "Tokens", tokens })).toMatchObject({ blocks: { length: 2 }, tokens: 128 })
    expect(blocksOf({ _tag: "Text", text: "a".repeat(4_000_000) })).toMatchObject({
      blocks: { length: 256 },
      tokens: 1_000_000
    })
    expect(blocksOf(chat()).blocks).toEqual([])
  })
)

it.prop(
  "two texts have as many first blocks in common as whole blocks of their beginning",
  FastCheck.tuple(FastCheck.nat(1_500), FastCheck.nat(600), FastCheck.nat(600)),
  ([same, one, other]) =>
    Effect.sync(() => {
      const shared = "s".repeat(same)
      const a = blocksOf({ _tag: "Text", text: `${shared}${"a".repeat(one)}` }).blocks
      const b = blocksOf({ _tag: "Text", text: `${shared}${"b".repeat(other)}` }).blocks
      const common = a.findIndex((block, at) => block !== b[at])
      expect(common === -1 ? Math.min(a.length, b.length) : Math.min(common, b.length)).toBe(Math.floor(same / 256))
    })
)

const blocks = (...numbers: ReadonlyArray<number>) => numbers

it.effect("a slot goes on with its own prompt, is copied for another, and the longest at rest is forgotten", () =>
  Effect.sync(() => {
    const sent = new SentPrompts()
    const first = sent.hold(blocks(1, 2, 3), 2)
    expect(sent.covered(blocks(1, 2, 9))).toBe(2)
    // While its answer runs, the next one that begins so takes a slot of its own.
    const second = sent.hold(blocks(1, 2, 4), 2)
    expect([second === first, sent.size]).toEqual([false, 2])
    first.isHeld = false
    second.isHeld = false
    expect(sent.hold(blocks(1, 2, 3, 5), 2)).toBe(first)
    first.isHeld = false
    expect(sent.hold(blocks(7, 8), 2)).toBe(second)
    expect([sent.covered(blocks(1, 2, 4)), sent.covered(blocks(7, 8, 9)), sent.size]).toEqual([2, 2, 2])
  })
)

it.effect("slots that have the same beginning are forgotten before the only one that has another", () =>
  Effect.sync(() => {
    const sent = new SentPrompts()
    const long = Array.from({ length: 16 }, (_, at) => at + 10)
    const other = sent.hold(blocks(1, 2, 3), 3)
    const twins = [sent.hold([...long, 4], 3), sent.hold([...long, 5], 3)]
    for (const slot of [other, ...twins]) slot.isHeld = false
    sent.hold(blocks(6, 7), 3)
    expect([sent.covered(blocks(1, 2, 3)), sent.covered(long), sent.covered(blocks(6, 7))]).toEqual([3, 16, 2])
  })
)

it.prop(
  "whatever is sent, no more slots are remembered than there are, and what was sent last is there",
  FastCheck.array(
    FastCheck.record({
      group: FastCheck.nat(3),
      length: FastCheck.integer({ min: 1, max: 6 }),
      slots: FastCheck.integer({ min: 1, max: 4 }),
      frees: FastCheck.boolean()
    }),
    { maxLength: 40 }
  ),
  (steps) =>
    Effect.sync(() => {
      const sent = new SentPrompts()
      for (const { frees, group, length, slots } of steps) {
        const prompt = Array.from({ length }, (_, at) => group * 100 + at)
        const slot = sent.hold(prompt, slots)
        slot.isHeld = !frees
        expect(sent.covered(prompt)).toBe(length)
        expect(sent.size).toBeLessThanOrEqual(Math.max(slots, 4))
      }
    })
)
