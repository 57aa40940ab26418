/**
 * Reads server-sent events out of bytes as they come, cut anywhere: the `data` of each event, as the HTML standard has
 * it (section 9.2.6). Has a memory of one line and one event, both bounded, as what a network sends is anybody's.
 */

/** Represents the most that is read. */
export interface EventBounds {
  /** Longest line, and longest event, in UTF-16 units. */
  readonly lengthMax: number
  /** Most bytes of all events together. */
  readonly bytesMax: number
}

/** The bounds of an answer: a line is a token with what surrounds it; no context has a million tokens of 250 bytes. */
export const boundsDefault: EventBounds = { lengthMax: 1024 * 1024, bytesMax: 256 * 1024 * 1024 }

/** Reads the events of one response. */
export class ServerSentEvents {
  readonly #bounds: EventBounds
  readonly #decoder = new TextDecoder()
  #bytes = 0
  /** The line that has not ended. */
  #line = ""
  /** The data of the event that has not ended. */
  #data: string | undefined
  /** Whether the last character ended a line, and a `\n` after it belongs to it. */
  #isAfterReturn = false
  #isTooLong = false

  constructor(bounds: EventBounds = boundsDefault) {
    this.#bounds = bounds
  }

  /** Returns the data of the events that end within these bytes; `too-long` from the first breach of a bound on. */
  read(bytes: Uint8Array): ReadonlyArray<string> | "too-long" {
    this.#bytes += bytes.byteLength
    this.#isTooLong ||= this.#bytes > this.#bounds.bytesMax
    if (this.#isTooLong) return "too-long"
    const decoded = this.#decoder.decode(bytes, { stream: true })
    const text = this.#isAfterReturn && decoded.startsWith("\n") ? decoded.slice(1) : decoded
    if (decoded !== "") this.#isAfterReturn = decoded.endsWith("\r")
    const [first = "", ...others] = text.split(/\r\n|\n|\r/)
    const events: Array<string> = []
    this.#line += first
    for (const next of others) {
      const event = this.#endLine()
      if (event !== undefined) events.push(event)
      this.#line = next
    }
    this.#isTooLong ||= this.#line.length > this.#bounds.lengthMax
    return this.#isTooLong ? "too-long" : events
  }

  /** Takes the line into the event; returns the event's data where the line ends it. */
  #endLine(): string | undefined {
    const line = this.#line
    this.#isTooLong ||= line.length > this.#bounds.lengthMax
    if (line === "") {
      const data = this.#data
      this.#data = undefined
      return data
    }
    if (line === "data" || line.startsWith("data:")) {
      const value = line.slice("data:".length).replace(/^ /, "")
      this.#data = this.#data === undefined ? value : `${this.#data}\n${value}`
      this.#isTooLong ||= this.#data.length > this.#bounds.lengthMax
    }
    return undefined
  }
}
