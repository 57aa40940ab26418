/**
 * A peer as the router meets it, in virtual time: prompts are computed one after another, answers side by side, and its
 * slots keep the cells of what they answered last. Pure but for its own state.
 */

import { tokensPerBlock } from "@weft/entry/routing/PromptBlocks"

/** Represents how fast a peer is while nothing else is to do. */
export interface Speed {
  readonly msPerPromptToken: number
  readonly msPerAnswerToken: number
}

/** Represents what becomes of one request. */
export interface Served {
  readonly firstMs: number
  readonly endMs: number
  /** Prompt tokens whose cells were there. */
  readonly cachedTokens: number
}

/** What a further answer costs those that run: a batch shares the reading of weights, not the arithmetic. */
const crowding = 0.15

interface Slot {
  blocks: ReadonlyArray<number>
  freeAtMs: number
  usedAtMs: number
}

/** Represents one peer. */
export class SimulatedPeer {
  readonly #speed: Speed
  readonly #slots: ReadonlyArray<Slot>
  #promptsDoneMs = 0

  constructor(speed: Speed, slots: number) {
    this.#speed = speed
    this.#slots = Array.from({ length: slots }, () => ({ blocks: [], freeAtMs: 0, usedAtMs: 0 }))
  }

  /** Its engine was started again: no cells are left, and nothing runs. */
  restart(): void {
    this.#promptsDoneMs = 0
    for (const slot of this.#slots) Object.assign(slot, { blocks: [], freeAtMs: 0 })
  }

  /** Takes a request; `slowness` says how many times slower than its speed it is now. */
  serve(
    request: { readonly blocks: ReadonlyArray<number>; readonly promptTokens: number; readonly answerTokens: number },
    slowness: number,
    nowMs: number
  ): Served {
    // Without an idle slot it waits for the first that becomes free.
    const fromMs = Math.max(nowMs, Math.min(...this.#slots.map(({ freeAtMs }) => freeAtMs)))
    const kept = Math.max(...this.#slots.map(({ blocks }) => commonOf(blocks, request.blocks)))
    const cachedTokens = Math.min(request.promptTokens - 1, kept * tokensPerBlock)
    const slot = this.#slotFor(request.blocks, kept, fromMs)
    const running = this.#slots.filter(({ freeAtMs }) => freeAtMs > fromMs).length
    const promptMs = (request.promptTokens - cachedTokens) * this.#speed.msPerPromptToken * slowness
    const tokenMs = this.#speed.msPerAnswerToken * slowness * (1 + crowding * running)
    this.#promptsDoneMs = Math.max(this.#promptsDoneMs, fromMs) + promptMs
    const firstMs = this.#promptsDoneMs + tokenMs
    const endMs = firstMs + tokenMs * (request.answerTokens - 1)
    Object.assign(slot, { blocks: request.blocks, freeAtMs: endMs, usedAtMs: fromMs })
    return { firstMs, endMs, cachedTokens }
  }

  /** The idle slot that has the most of it, unless that runs: then cells are copied to the one that is missed least. */
  #slotFor(blocks: ReadonlyArray<number>, kept: number, nowMs: number): Slot {
    const idle = this.#slots.filter(({ freeAtMs }) => freeAtMs <= nowMs).toSorted((a, b) => a.usedAtMs - b.usedAtMs)
    const own = idle.find((slot) => kept > 0 && commonOf(slot.blocks, blocks) === kept)
    const spare = idle.find((slot) => this.#isSpare(slot))
    const [first] = this.#slots
    const slot = own ?? spare ?? idle[0] ?? first
    if (slot === undefined) throw new Error("a peer has at least one slot")
    return slot
  }

  /** Another slot has nearly all of it, as the engine's own `SlotChoice.ts` asks. */
  #isSpare(slot: Slot): boolean {
    const { blocks } = slot
    return this.#slots.some((other) => other !== slot && commonOf(blocks, other.blocks) >= (blocks.length * 7) / 8)
  }
}

// internal

const commonOf = (some: ReadonlyArray<number>, others: ReadonlyArray<number>): number => {
  const length = Math.min(some.length, others.length)
  for (let at = 0; at < length; at++) if (some[at] !== others[at]) return at
  return length
}
