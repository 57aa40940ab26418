/**
 * Which slot a request takes, as a pure decision: the cells of finished answers stay in their slots until these are
 * needed, and a request that begins with the same tokens need not compute them again.
 */

/** Represents a slot as the choice sees it. */
export interface SlotCells {
  /** Tokens whose cells it holds, in order; the first `cells` count. */
  readonly tokens: Int32Array
  /** Cells that may be used again. */
  readonly cells: number
  /** No answer holds it. */
  readonly idle: boolean
  /** Rises with each use. */
  readonly usedAt: number
}

/** Represents what is known of a request and of the cost of cells. */
export interface SlotRequest {
  readonly tokens: Int32Array
  /** Tokens whose cells may be taken from a slot: at least one is left to compute, as a token is drawn from it. */
  readonly reusable: number
  /** Cells are of use in multiples of this. */
  readonly grain: number
  /** Tokens that a copy must save over none: it moves a whole slot, whatever part of it is of use. */
  readonly copySavesMin: number
}

/** Represents the slot a request takes and the cells that it finds there. */
export interface SlotChoice {
  readonly slot: number
  readonly kept: number
  /** The slot whose cells are copied to it first. */
  readonly copiedFrom: number | undefined
}

/**
 * Returns the idle slot to take; none where all run. It is the one with the longest common beginning, unless that is
 * the lesser part of what the slot holds: then another conversation would be lost for it, so that its beginning, or
 * that of a slot that runs, is copied to the slot that is missed least, where the copy pays.
 */
export const choose = (request: SlotRequest, slots: ReadonlyArray<SlotCells>): SlotChoice | undefined => {
  const places = slots.map((slot, index) => ({ ...slot, index, kept: usable(request, slot) }))
  const idle = places.filter((place) => place.idle)
  const free = leastMissed(idle, slots)
  if (free === undefined) return undefined
  const continued = idle.filter(({ cells, kept }) => kept * 2 >= cells)
  const own = best([free, ...continued]) ?? free
  const shared = best(places) ?? own
  if (shared.index === free.index || shared.kept < own.kept + request.copySavesMin) {
    return { slot: own.index, kept: own.kept, copiedFrom: undefined }
  }
  return { slot: free.index, kept: shared.kept, copiedFrom: shared.index }
}

/** Represents a request that has its slot and whose tokens are not all computed. */
export interface WaitingPrompt extends SlotRequest {
  readonly slot: number
  readonly computed: number
  /** Tokens that are computed before its own; none where it is its turn. */
  readonly ahead: Int32Array | undefined
  /** Tokens that a wait for those must save: less would be computed in the same decode. */
  readonly waitSavesMin: number
}

/** Represents what a prompt does next: compute, with cells that were computed since it got its slot, or wait. */
export type NextStep =
  | { readonly _tag: "Computes" }
  | { readonly _tag: "Waits" }
  | { readonly _tag: "Copies"; readonly kept: number; readonly copiedFrom: number }

/** Returns what a prompt does next, so that of several with the same long beginning one computes it for all. */
export const next = (prompt: WaitingPrompt, slots: ReadonlyArray<SlotCells>): NextStep => {
  const { ahead, computed, copySavesMin, slot, waitSavesMin } = prompt
  const others = slots.map((one, index) => ({ ...one, index, kept: index === slot ? 0 : usable(prompt, one) }))
  const most = best(others)
  const found = Math.max(computed, most?.kept ?? 0)
  const promised = ahead === undefined ? 0 : usable(prompt, { tokens: ahead, cells: ahead.length })
  if (promised >= computed + waitSavesMin && promised >= found + copySavesMin) return { _tag: "Waits" }
  return most === undefined || most.kept < computed + copySavesMin
    ? { _tag: "Computes" }
    : { _tag: "Copies", kept: most.kept, copiedFrom: most.index }
}

// internal

/**
 * Part of its tokens that another slot must hold too for a slot to be spare: what is lost with it is soon computed, and
 * questions with the same long beginning would take every slot otherwise, each with the beginnings of all others.
 */
const sparePart = 7 / 8

/** Returns the spare slot that was idle for longest, which an empty one is too; where there is none, any slot. */
const leastMissed = (idle: ReadonlyArray<Place>, slots: ReadonlyArray<SlotCells>): Place | undefined => {
  const oldestFirst = idle.toSorted((a, b) => a.usedAt - b.usedAt)
  const isSpare = ({ cells, index, tokens }: Place): boolean =>
    slots.some(
      (other, at) => at !== index && commonOf(tokens, other.tokens, Math.min(cells, other.cells)) >= cells * sparePart
    )
  return oldestFirst.find(isSpare) ?? oldestFirst[0]
}

interface Place extends SlotCells {
  readonly index: number
  readonly kept: number
}

/** Returns the place with the longest common beginning, the least recently used of several. */
const best = (places: ReadonlyArray<Place>): Place | undefined =>
  places.toSorted((a, b) => b.kept - a.kept || a.usedAt - b.usedAt)[0]

const usable = ({ grain, reusable, tokens }: SlotRequest, slot: Pick<SlotCells, "cells" | "tokens">): number => {
  const common = commonOf(tokens, slot.tokens, Math.min(reusable, slot.cells))
  return common - (common % grain)
}

const commonOf = (some: Int32Array, others: Int32Array, most: number): number => {
  let common = 0
  while (common < most && some[common] === others[common]) common++
  return common
}
