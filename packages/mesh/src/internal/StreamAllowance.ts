/**
 * How many streams the accepting side of a QUIC session may open. Bun 1.4.4 ends a session in which the accepting side
 * has more than 100 open, whatever limit the dialling side announced, and counts a stream until that side has seen its
 * end. Pure; `quic.ts` asks before it opens and tells of ends.
 */

/** Bun's 100, less what may be under way either way when a session carries other things than answers. */
const streamsMax = 96

/** Time in which the other side has seen a reset for certain: packets that are lost are sent again by then. */
const lingerMs = 2_000

/** Represents the streams of one session. */
export class StreamAllowance {
  #live = 0
  /** When streams ended whose end the other side may not have seen, oldest first. */
  readonly #endedAtMs: Array<number> = []

  /** Takes a place for one more stream; false where there is none. */
  take(nowMs: number): boolean {
    while ((this.#endedAtMs[0] ?? nowMs) < nowMs - lingerMs) this.#endedAtMs.shift()
    if (this.#live + this.#endedAtMs.length >= streamsMax) return false
    this.#live++
    return true
  }

  /** Gives a place back after a while. */
  ended(nowMs: number): void {
    this.#live--
    this.#endedAtMs.push(nowMs)
  }
}
