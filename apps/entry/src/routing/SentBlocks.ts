/**
 * The blocks of prompts that a peer was sent last, which its engine has in its cells still as far as anybody else can
 * tell. Bounded; what was used least lately is forgotten first. One owner.
 */

/** Represents the blocks of one peer and model. */
export class SentBlocks {
  /** The least lately used first. A block is never later than those before it in a prompt, so that ends go first. */
  readonly #blocks = new Set<number>()

  get size(): number {
    return this.#blocks.size
  }

  /** Returns how many of a prompt's first blocks it was sent. */
  covered(blocks: ReadonlyArray<number>): number {
    // Where a block is there, those before it are: the first that is not is found by halving.
    let [known, unknown] = [0, blocks.length]
    while (known < unknown) {
      const middle = (known + unknown) >>> 1
      const block = blocks[middle]
      if (block !== undefined && this.#blocks.has(block)) known = middle + 1
      else unknown = middle
    }
    return known
  }

  /** Notes that a prompt was sent; at most `blocksMax` are kept. */
  add(blocks: ReadonlyArray<number>, blocksMax: number): void {
    for (let at = Math.min(blocks.length, blocksMax) - 1; at >= 0; at--) {
      const block = blocks[at]
      if (block === undefined) continue
      this.#blocks.delete(block)
      this.#blocks.add(block)
    }
    for (const block of this.#blocks) {
      if (this.#blocks.size <= blocksMax) break
      this.#blocks.delete(block)
    }
  }
}
