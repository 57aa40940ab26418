/** Which peer answered each conversation last. Bounded; one that rests is forgotten, as its peer's cells are. */
import type { PeerId } from "@weft/mesh/PeerId"

/** Most conversations that are remembered; the one that rested longest is forgotten first. About 2 MB. */
export const conversationsMax = 16_384
/** A chat that rested for so long finds its cells taken by others anyway. */
const restMsMax = 600_000

/** Represents the conversations of one entry. */
export class Conversations {
  /** The one that rested longest first. */
  readonly #last = new Map<number, { readonly peer: PeerId; readonly atMs: number }>()

  get size(): number {
    return this.#last.size
  }

  /** Returns who answered last. */
  peerOf(conversation: number, nowMs: number): PeerId | undefined {
    const last = this.#last.get(conversation)
    return last === undefined || nowMs - last.atMs > restMsMax ? undefined : last.peer
  }

  /** Notes who answers now. */
  note(conversation: number, peer: PeerId, nowMs: number): void {
    this.#last.delete(conversation)
    this.#last.set(conversation, { peer, atMs: nowMs })
    if (this.#last.size <= conversationsMax) return
    for (const oldest of this.#last.keys()) {
      this.#last.delete(oldest)
      return
    }
  }
}
