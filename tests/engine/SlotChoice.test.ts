/** The choice of a slot against every situation: what it keeps is true, and it saves what can be saved. */
import { describe, expect, test } from "bun:test"
import * as SlotChoice from "@weft/engine/SlotChoice"
import { Effect, FastCheck } from "effect"
import { it } from "../support/effect.ts"

/** Two kinds of token, so that long common beginnings are common. */
const token = FastCheck.constantFrom(1, 1, 1, 2)
const tokens = FastCheck.array(token, { minLength: 1, maxLength: 40 }).map((list) => Int32Array.from(list))
const slot = FastCheck.record({ tokens, used: FastCheck.nat(40), idle: FastCheck.boolean() })
const situation = FastCheck.record({
  tokens,
  slots: FastCheck.array(slot, { minLength: 1, maxLength: 6 }).map((slots) =>
    slots.map(({ idle, tokens, used }, index) => ({
      tokens,
      idle,
      cells: Math.min(used, tokens.length),
      usedAt: (index * 7) % 5
    }))
  ),
  grain: FastCheck.constantFrom(1, 1, 4),
  copySavesMin: FastCheck.constantFrom(1, 3, 1000)
})

const common = (a: Int32Array, b: Int32Array, most: number): number => {
  let count = 0
  while (count < most && a[count] === b[count]) count++
  return count
}

/** Returns a slot that holds `cells`. */
const holding = (cells: ReadonlyArray<number>, usedAt: number, idle = true): SlotChoice.SlotCells => ({
  tokens: Int32Array.from([...cells, 0, 0]),
  cells: cells.length,
  idle,
  usedAt
})
const request = (tokens: ReadonlyArray<number>, copySavesMin = 2): SlotChoice.SlotRequest => ({
  tokens: Int32Array.from(tokens),
  reusable: tokens.length - 1,
  grain: 1,
  copySavesMin
})

describe("SlotChoice", () => {
  it.prop("takes an idle slot and keeps what is equal there", situation, ({ copySavesMin, grain, slots, tokens }) =>
    Effect.sync(() => {
      const reusable = tokens.length - 1
      const choice = SlotChoice.choose({ tokens, reusable, grain, copySavesMin }, slots)
      if (choice === undefined) return expect(slots.some(({ idle }) => idle)).toBe(false)
      expect(slots[choice.slot]?.idle).toBe(true)
      expect(choice.copiedFrom).not.toBe(choice.slot)
      const source = slots[choice.copiedFrom ?? choice.slot]
      expect(choice.kept % grain).toBe(0)
      expect(choice.kept).toBeLessThanOrEqual(Math.min(reusable, source?.cells ?? 0))
      expect(common(tokens, source?.tokens ?? tokens, choice.kept)).toBe(choice.kept)
    })
  )

  it.prop("computes no more than a copy could save", situation, ({ copySavesMin, slots, tokens }) =>
    Effect.sync(() => {
      const reusable = tokens.length - 1
      const choice = SlotChoice.choose({ tokens, reusable, grain: 1, copySavesMin }, slots)
      const most = Math.max(...slots.map((one) => common(tokens, one.tokens, Math.min(reusable, one.cells))))
      if (choice !== undefined) expect(most - choice.kept).toBeLessThan(copySavesMin)
    })
  )

  test("goes on with a chat where it left off", () => {
    const slots = [holding([9, 9], 3), holding([1, 2, 3, 4], 2), holding([], 0)]
    expect(SlotChoice.choose(request([1, 2, 3, 4, 5, 6]), slots)).toEqual({ slot: 1, kept: 4, copiedFrom: undefined })
  })

  test("copies what a running answer and a longer chat begin with, and leaves both alone", () => {
    const running = [holding([1, 2, 3, 4], 2, false), holding([9], 1), holding([8], 5)]
    expect(SlotChoice.choose(request([1, 2, 3, 7]), running)).toEqual({ slot: 1, kept: 3, copiedFrom: 0 })
    const chat = [holding([1, 2, 3, 4, 5, 6, 7, 8], 1), holding([9], 2)]
    expect(SlotChoice.choose(request([1, 2, 3, 7]), chat)).toEqual({ slot: 0, kept: 3, copiedFrom: undefined })
    const newer = [holding([1, 2, 3, 4, 5, 6, 7, 8], 2), holding([9], 1)]
    expect(SlotChoice.choose(request([1, 2, 3, 7]), newer)).toEqual({ slot: 1, kept: 3, copiedFrom: 0 })
    expect(SlotChoice.choose(request([1, 2, 3, 7], 4), newer)).toEqual({ slot: 1, kept: 0, copiedFrom: undefined })
  })

  test("takes a slot whose cells another has too before the only one that has others", () => {
    const long = Array.from({ length: 16 }, (_, at) => at + 10)
    const slots = [
      holding([7, 8, 9], 1),
      holding([...long, 1], 5),
      holding([...long, 2], 4),
      holding([...long, 3], 3, false)
    ]
    expect(SlotChoice.choose(request([1, 2]), slots)).toEqual({ slot: 2, kept: 0, copiedFrom: undefined })
    expect(SlotChoice.choose(request([1, 2]), slots.slice(0, 2))).toMatchObject({ slot: 0 })
    // One that shares less than that is a conversation of its own.
    const chats = [holding([7, 8, 9], 2), holding([...long, 1, 1, 1, 1], 1), holding([...long, 2, 2, 2, 2], 3)]
    expect(SlotChoice.choose(request([1, 2]), chats)).toMatchObject({ slot: 1 })
    expect(SlotChoice.choose(request([1, 2]), [...chats, holding([], 9)])).toMatchObject({ slot: 3 })
  })

  test("waits while the same beginning is computed, copies it then, and computes what is worth no wait", () => {
    const prompt = [1, 2, 3, 4, 5, 6, 7, 8]
    const ahead = Int32Array.from([...prompt.slice(0, 7), 9])
    const next = (cells: number, changes: Partial<SlotChoice.WaitingPrompt> = {}) =>
      SlotChoice.next({ ...request(prompt), slot: 1, computed: 0, ahead, waitSavesMin: 4, ...changes }, [
        holding([...ahead].slice(0, cells), 1, false),
        holding([], 2, false)
      ])._tag
    expect([0, 3, 5, 6, 7].map((cells) => next(cells))).toEqual(["Waits", "Waits", "Waits", "Copies", "Copies"])
    expect(next(3, { waitSavesMin: 8 })).toBe("Copies")
    expect(next(0, { waitSavesMin: 8 })).toBe("Computes")
    expect(next(3, { ahead: undefined })).toBe("Copies")
    expect(next(3, { ahead: undefined, computed: 2 })).toBe("Computes")
    expect(next(7, { reusable: 0 })).toBe("Computes")
  })

  it.prop("goes on with nothing but what is equal in another slot, and more of it", situation, (given) =>
    Effect.sync(() => {
      const { copySavesMin, grain, slots, tokens } = given
      const [first] = slots
      const computed = Math.min(2, tokens.length - 1)
      const prompt = { tokens, reusable: tokens.length - 1, grain, copySavesMin, slot: 0, computed, waitSavesMin: 2 }
      const step = SlotChoice.next({ ...prompt, ahead: first?.tokens }, slots)
      if (step._tag !== "Copies") return
      expect(step.copiedFrom).not.toBe(0)
      const source = slots[step.copiedFrom]
      expect(step.kept).toBeGreaterThanOrEqual(computed + copySavesMin)
      expect(step.kept).toBeLessThanOrEqual(Math.min(tokens.length - 1, source?.cells ?? 0))
      expect(common(tokens, source?.tokens ?? tokens, step.kept)).toBe(step.kept)
    })
  )

  test("takes the slot that was idle for longest where nothing is common", () => {
    const slots = [holding([5], 3), holding([6], 1), holding([7], 2)]
    expect(SlotChoice.choose(request([1, 2]), slots)).toEqual({ slot: 1, kept: 0, copiedFrom: undefined })
  })
})
