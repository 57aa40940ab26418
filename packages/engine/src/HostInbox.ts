/** What came over a host's channel, and the loop that works on it. Owned by the host; the channel fills it. */
import { Effect, Either } from "effect"
import type { EngineError } from "./EngineError.ts"

/** Represents what a host does with what comes. */
export interface HostWork {
  /** Takes what came and does one turn; returns what is wrong with it, if anything. */
  readonly step: (frames: ReadonlyArray<unknown>) => EngineError | undefined
  /** There is more to do, whether anything comes or not. */
  readonly busy: () => boolean
}

/** Holds frames until they are taken; the other side bounds how many there can be. */
export class HostInbox {
  private closed = false
  /** Called for whatever comes, the close included. */
  private onArrival: () => void = () => {}
  #frames: Array<unknown> = []

  /** Adds a frame at the end. */
  push(frame: unknown): void {
    this.#frames.push(frame)
    this.onArrival()
  }

  /** Takes note that nothing more comes. */
  close(): void {
    this.closed = true
    this.onArrival()
  }

  /** Takes all frames, the oldest first. */
  takeAll(): ReadonlyArray<unknown> {
    if (this.#frames.length === 0) return nothing
    const frames = this.#frames
    this.#frames = []
    return frames
  }

  /** Waits for the first frame; none where the channel closes first. Those behind it stay. */
  readonly first: Effect.Effect<unknown> = Effect.async((resume) => {
    const look = (): void => {
      if (this.#frames.length === 0 && !this.closed) return
      this.onArrival = () => {}
      resume(Effect.succeed(this.#frames.shift()))
    }
    this.onArrival = look
    look()
  })

  /**
   * Works until the channel closes. What comes is worked on as soon as all of it that came at once is here; between
   * two turns without anything new the process looks at its descriptors, and without work nothing is scheduled. This
   * loop is the way of every token, so it is plain callbacks: a turn of Effect's costs as much as all else in it. What
   * throws in it is a defect, and so ends the process: Bun would go on after it.
   */
  serve(work: HostWork): Effect.Effect<void, EngineError> {
    return Effect.async((resume) => {
      let isScheduled = false
      const afterArrival = (): void => {
        if (isScheduled) return
        isScheduled = true
        queueMicrotask(tick)
      }
      const tick = (): void => {
        isScheduled = false
        if (this.closed) {
          resume(Effect.void)
          return
        }
        const stepped = Either.try(() => work.step(this.takeAll()))
        if (Either.isLeft(stepped)) resume(Effect.die(stepped.left))
        else if (stepped.right !== undefined) resume(Effect.fail(stepped.right))
        else if (work.busy() && !isScheduled) {
          isScheduled = true
          setImmediate(tick)
        }
      }
      this.onArrival = afterArrival
      afterArrival()
    })
  }
}

const nothing: ReadonlyArray<unknown> = []
