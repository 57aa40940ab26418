/**
 * Sends what leaves a lane, each at its time, in order. One timer waits for the next one, whatever waits behind. Bun's
 * timers count whole milliseconds, so a departure is at most half of one early and about half of one late.
 */

/** Less than this is not waited for: the next shortest wait would end later than that by as much. */
const roundingMs = 0.5

/** Departures gone are cleared away in lots of so many: each lot moves what waits once. */
const goneMax = 1024

interface Departure {
  readonly atMs: number
  readonly bytes: Uint8Array
  readonly send: (bytes: Uint8Array) => void
}

/** Represents the datagrams that are on their way in one lane. */
export class Departures {
  #waiting: Array<Departure> = []
  #gone = 0
  #underwayBytes = 0
  #timer: ReturnType<typeof setTimeout> | undefined

  get underwayBytes(): number {
    return this.#underwayBytes
  }

  /** Sends `bytes` at `atMs`, which must not be before that of the last. */
  add(departure: Departure): void {
    this.#waiting.push(departure)
    this.#underwayBytes += departure.bytes.length
    if (this.#timer === undefined) this.#run()
  }

  /** Forgets everything that is on its way. */
  close(): void {
    clearTimeout(this.#timer)
    this.#waiting = []
    this.#gone = 0
    this.#underwayBytes = 0
  }

  readonly #run = (): void => {
    this.#timer = undefined
    for (let next = this.#waiting[this.#gone]; next !== undefined; next = this.#waiting[this.#gone]) {
      const waitMs = next.atMs - performance.now()
      if (waitMs > roundingMs) {
        this.#timer = setTimeout(this.#run, Math.max(1, Math.floor(waitMs)))
        break
      }
      this.#gone++
      this.#underwayBytes -= next.bytes.length
      next.send(next.bytes)
    }
    if (this.#gone < goneMax && this.#gone < this.#waiting.length) return
    this.#waiting.splice(0, this.#gone)
    this.#gone = 0
  }
}
