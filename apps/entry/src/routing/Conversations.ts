/** Which peer answered each conversation last. Bounded; one that rests is forgotten, as its peer's cells are. */
import type { PeerId } from "@weft/mesh/PeerId"

/** Most conversations that are remembered, in each of two generations; about 2 MB together. */
export const generationMax = 8_192
/** A chat that rested for so long finds its cells taken by others anyway. */
const restMsMax = 600_000

/** Represents the conversations of one entry. */
export class Conversations {
  /** Those noted since the last change of generations; when they are too many, they become the older ones. */
  #young = new Map<number, Last>()
  #old: ReadonlyMap<number, Last> = new Map()

  /** Returns who answered last. */
  peerOf(conversation: number, nowMs: number): PeerId | undefined {
    const last = this.#young.get(conversation) ?? this.#old.get(conversation)
    return last === undefined || nowMs - last.atMs > restMsMax ? undefined : last.peer
  }

  /** Notes who answers now. */
  note(conversation: number, peer: PeerId, nowMs: number): void {
    if (this.#young.size >= generationMax && !this.#young.has(conversation)) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(conversation, { peer, atMs: nowMs })
  }
}

// internal

interface Last {
  readonly peer: PeerId
  readonly atMs: number
}
