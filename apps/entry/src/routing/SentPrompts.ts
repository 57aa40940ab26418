/**
 * The prompts whose cells a peer should still have: its slots as the router guesses them, from what it sent there. An
 * engine keeps the cells of a slot until it needs the slot for another prompt (`SlotChoice.ts`), and so does this.
 * Slots whose prompt another has nearly whole are forgotten first, then those that rested longest. One owner.
 */

/** Represents a slot with the blocks of the prompt that it was sent last. */
export interface SentPrompt {
  blocks: ReadonlyArray<number>
  /** Whether its answer is under way. */
  isHeld: boolean
  usedAt: number
}

/** Represents the slots of one peer and model. */
export class SentPrompts {
  #slots: Array<SentPrompt> = []
  #uses = 0

  get size(): number {
    return this.#slots.length
  }

  /** Returns how many of a prompt's first blocks some slot should have. */
  covered(blocks: ReadonlyArray<number>): number {
    let most = 0
    for (const slot of this.#slots) {
      if (slot.blocks[most] === blocks[most]) most = Math.max(most, commonOf(slot.blocks, blocks))
    }
    return most
  }

  /** Notes that a prompt is sent to a peer with at most `slotsMax` slots; the slot is held until `free`. */
  hold(blocks: ReadonlyArray<number>, slotsMax: number): SentPrompt {
    const slot = this.#slotFor(blocks, slotsMax)
    slot.blocks = blocks
    slot.isHeld = true
    slot.usedAt = this.#uses++
    return slot
  }

  /** The slot that has more of this prompt than of another goes on; else a new one, else the least missed. */
  #slotFor(blocks: ReadonlyArray<number>, slotsMax: number): SentPrompt {
    let own: SentPrompt | undefined
    let kept = 0
    for (const slot of this.#slots) {
      const common = commonOf(slot.blocks, blocks)
      if (slot.isHeld || common <= kept || common * 2 < slot.blocks.length) continue
      own = slot
      kept = common
    }
    if (own !== undefined) return own
    if (this.#slots.length < slotsMax) {
      const slot = { blocks, isHeld: false, usedAt: 0 }
      this.#slots.push(slot)
      return slot
    }
    // A peer that comes back with fewer slots has fewer cells.
    this.#slots = this.#slots.toSorted((a, b) => rank(a) - rank(b)).slice(-Math.max(1, slotsMax))
    const [longest = { blocks, isHeld: false, usedAt: 0 }] = this.#slots
    return this.#slots.find((slot) => !slot.isHeld && this.#isSpare(slot)) ?? longest
  }

  #isSpare(slot: SentPrompt): boolean {
    const { blocks } = slot
    return this.#slots.some((other) => other !== slot && commonOf(blocks, other.blocks) >= blocks.length * sparePart)
  }
}

// internal

/** As in `SlotChoice.ts`: what is lost with such a slot is soon computed. */
const sparePart = 7 / 8

/** Slots that are held come after all that rest. */
const rank = ({ isHeld, usedAt }: SentPrompt): number => (isHeld ? usedAt + Number.MAX_SAFE_INTEGER / 2 : usedAt)

/** Blocks are hashes over all that stands before them, so the first difference is found by halving. */
const commonOf = (some: ReadonlyArray<number>, others: ReadonlyArray<number>): number => {
  let [same, different] = [0, Math.min(some.length, others.length)]
  if (different === 0 || some[0] !== others[0]) return 0
  while (same < different) {
    const middle = (same + different) >>> 1
    if (some[middle] === others[middle]) same = middle + 1
    else different = middle
  }
  return same
}
