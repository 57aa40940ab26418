/**
 * A raw stream that the other side opened, until its first word is there: only then is it known whether it is the
 * session's own control stream or one for the application. Events that come later go where the word led.
 */
import type { RawStream, RawStreamEvents } from "./RawSession.ts"

/** Bytes of the word. */
const wordBytes = 4

/** Represents who is told of a stream's first word. */
export interface FirstWordHandlers {
  /** The word is there; `head` begins with it and holds all bytes so far. `use` says who gets what comes after. */
  readonly named: (word: number, head: Uint8Array, use: (events: RawStreamEvents) => void) => void
  /** The stream is over before its first word. */
  readonly forgotten: () => void
}

/** Receives nothing. */
export const ignoreEvents: RawStreamEvents = { data: () => {}, reset: () => {}, cut: () => {}, writable: () => {} }

/** Waits for the first word of `raw`; one of the handlers is called, once. */
export const awaitFirstWord = (raw: RawStream, { forgotten, named }: FirstWordHandlers): void => {
  let head: Uint8Array = new Uint8Array(0)
  let events: RawStreamEvents | undefined
  const forget = (): void => {
    events = ignoreEvents
    forgotten()
  }
  raw.listen({
    data: (bytes) => {
      if (events !== undefined) return events.data(bytes)
      head = head.length === 0 ? bytes : joined(head, bytes)
      if (head.length < wordBytes) return
      events = ignoreEvents
      named(new DataView(head.buffer, head.byteOffset).getUint32(0), head, (used) => {
        events = used
      })
    },
    reset: (code) => {
      if (events !== undefined) return events.reset(code)
      raw.reset(code)
      forget()
    },
    cut: () => (events === undefined ? forget() : events.cut()),
    writable: () => events?.writable()
  })
}

// internal

const joined = (left: Uint8Array, right: Uint8Array): Uint8Array => {
  const out = new Uint8Array(left.length + right.length)
  out.set(left)
  out.set(right, left.length)
  return out
}
