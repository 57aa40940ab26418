/**
 * Bytes of one stream that nobody has read yet, in their order. What bounds them is the stream's credit; short chunks
 * are merged, so that one-byte records cannot cost a hundred times their size.
 */

/** Unread chunks shorter than this are merged. */
const mergeBelowBytes = 512
const mergeBlockBytes = 4 * 1024

/** Represents the unread bytes of one stream. */
export class Inbox {
  readonly #chunks: Array<Uint8Array> = []
  #at = 0
  #block: Uint8Array | undefined
  #blockUsed = 0

  /** True where nothing waits. */
  get isEmpty(): boolean {
    return this.#at === this.#chunks.length
  }

  /** Adds bytes at the end; they must not change afterwards. */
  push(chunk: Uint8Array): void {
    if (chunk.length >= mergeBelowBytes || this.isEmpty) {
      this.#block = undefined
      this.#chunks.push(chunk)
      return
    }
    if (this.#block === undefined || this.#blockUsed + chunk.length > this.#block.length) {
      this.#block = new Uint8Array(mergeBlockBytes)
      this.#blockUsed = 0
      this.#chunks.push(this.#block.subarray(0, 0))
    }
    this.#block.set(chunk, this.#blockUsed)
    this.#blockUsed += chunk.length
    this.#chunks[this.#chunks.length - 1] = this.#block.subarray(0, this.#blockUsed)
  }

  /** Puts bytes that were taken back to the front. */
  putBack(chunk: Uint8Array): void {
    this.#chunks.splice(0, this.#at, chunk)
    this.#at = 0
  }

  /** Takes the chunk at the front. */
  take(): Uint8Array | undefined {
    const chunk = this.#chunks[this.#at]
    if (chunk === undefined) return undefined
    this.#at += 1
    if (this.isEmpty) this.clear()
    return chunk
  }

  /** Drops everything. */
  clear(): void {
    this.#chunks.length = 0
    this.#at = 0
    this.#block = undefined
  }
}
