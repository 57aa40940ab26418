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

  test("takes the slot that was idle for longest where nothing is common", () => {
    const slots = [holding([5], 3), holding([6], 1), holding([7], 2)]
    expect(SlotChoice.choose(request([1, 2]), slots)).toEqual({ slot: 1, kept: 0, copiedFrom: undefined })
  })
})
