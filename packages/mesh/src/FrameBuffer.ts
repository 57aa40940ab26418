/** Bytes of a stream on their way to whole frames. */

/** Bytes of a frame's length, which stands before its payload. */
export const headerBytes = 4

/** Returns the parts as one array; a single part as it is. */
export const concat = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  if (parts.length === 1 && parts[0] !== undefined) return parts[0]
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** Collects bytes and takes frames off their front; every byte is copied at most once. */
export class FrameBuffer {
  readonly #parts: Array<Uint8Array> = []
  /** Bytes of the first part that were taken. */
  #at = 0
  #bytes = 0

  /** Bytes held, of whole and partial frames. */
  get sizeBytes(): number {
    return this.#bytes
  }

  /** Adds bytes at the end; they must not change afterwards. */
  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.#parts.push(bytes)
    this.#bytes += bytes.length
  }

  /** Payload length of the frame at the front; undefined while its header is not whole. */
  get nextBytes(): number | undefined {
    if (this.#bytes < headerBytes) return undefined
    let length = 0
    for (let i = 0, part = 0, at = this.#at; i < headerBytes; i++, at++) {
      while (at === (this.#parts[part]?.length ?? 0)) {
        part++
        at = 0
      }
      length = length * 256 + (this.#parts[part]?.[at] ?? 0)
    }
    return length
  }

  /** Takes the payload of the frame at the front; undefined while it is not whole. */
  take(): Uint8Array | undefined {
    const length = this.nextBytes
    if (length === undefined || this.#bytes < headerBytes + length) return undefined
    this.#skip(headerBytes)
    return this.#cut(length)
  }

  /** Takes everything. */
  takeAll(): Uint8Array {
    return this.#cut(this.#bytes)
  }

  /** Takes exactly `count` bytes, which are there; a view where one part holds them all. */
  #cut(count: number): Uint8Array {
    const taken: Array<Uint8Array> = []
    for (let part = 0, missing = count; missing > 0; part++) {
      const from = part === 0 ? this.#at : 0
      const view = this.#parts[part]?.subarray(from, from + missing)
      if (view === undefined) break
      taken.push(view)
      missing -= view.length
    }
    this.#skip(count)
    return concat(taken)
  }

  /** Drops `count` bytes, which are there. */
  #skip(count: number): void {
    this.#bytes -= count
    this.#at += count
    for (let first = this.#parts[0]; first !== undefined && this.#at >= first.length; first = this.#parts[0]) {
      this.#at -= first.length
      this.#parts.shift()
    }
  }
}
