/**
 * A response body that is written into as events come: a `ReadableStream` whose own queue is the bounded buffer. Bun
 * takes from it while the socket accepts more, and cancels it at once when the client leaves.
 */

/** Represents the writing side of one response body. */
export interface ByteBuffer {
  /** The reading side; the server takes it. */
  readonly stream: ReadableStream<Uint8Array>
  /** Adds text; false when the reader is gone or more than the bound would wait for it. */
  readonly write: (text: string) => boolean
  /** Ends the body; what waits still goes out. Idempotent. */
  readonly end: () => void
  /** Drops what waits and cuts the connection. Idempotent. */
  readonly abort: () => void
  /** Bytes that wait for the reader. */
  readonly waitingBytes: () => number
}

/** Makes a body in which at most `bytesMax` wait; `onGone` runs once when the reader leaves before the end. */
export const make = (bytesMax: number, onGone: () => void): ByteBuffer => {
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined
  const stream = new ReadableStream<Uint8Array>(
    {
      start: (started) => {
        controller = started
      },
      cancel: () => {
        controller = undefined
        onGone()
      }
    },
    { highWaterMark: bytesMax, size: (chunk) => chunk?.byteLength ?? 0 }
  )
  const waitingBytes = (): number => (controller === undefined ? 0 : bytesMax - (controller.desiredSize ?? bytesMax))
  return {
    stream,
    write: (text) => {
      if (controller === undefined) return false
      const bytes = encoder.encode(text)
      if (waitingBytes() + bytes.byteLength > bytesMax) return false
      controller.enqueue(bytes)
      return true
    },
    end: () => {
      controller?.close()
      controller = undefined
    },
    abort: () => {
      controller?.error(new Error("the reader was too slow"))
      controller = undefined
    },
    waitingBytes
  }
}

// internal

const encoder = new TextEncoder()
