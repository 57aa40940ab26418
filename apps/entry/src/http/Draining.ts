/** The answers under way, and whether the server is stopping: then none begin, and the end of the last is awaited. */
import { Effect } from "effect"

/** Counts the answers under way. */
export class Draining {
  readonly #idle = Effect.unsafeMakeLatch(true)
  #underWay = 0
  #isDraining = false

  /** Counts one answer until it leaves; false once the server drains. */
  enter(): boolean {
    if (this.#isDraining) return false
    if (++this.#underWay === 1) this.#idle.unsafeClose()
    return true
  }

  /** Uncounts an answer that entered. */
  leave(): void {
    if (--this.#underWay === 0) this.#idle.unsafeOpen()
  }

  /** Refuses new answers and waits until those under way have ended. */
  readonly drain: Effect.Effect<void> = Effect.suspend(() => {
    this.#isDraining = true
    return this.#idle.await
  })
}
