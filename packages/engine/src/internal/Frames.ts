/**
 * The frames between a supervisor and its engine host: the length as u32, big-endian, then one value as MessagePack.
 */
import { Packr } from "msgpackr"

const headerBytes = 4
/** Plain MessagePack: records are an extension of msgpackr that keeps state across frames. */
const packr = new Packr({ useRecords: false })

/** Returns `value` as one frame. */
export const encode = (value: unknown): Uint8Array => {
  const body = packr.pack(value)
  const frame = new Uint8Array(headerBytes + body.length)
  new DataView(frame.buffer).setUint32(0, body.length)
  frame.set(body, headerBytes)
  return frame
}

/** Represents the state of one direction of a channel. */
export interface FrameDecoder {
  /**
   * Returns the values of the frames that `bytes` complete; throws at a frame over the bound or one that cannot be
   * read.
   */
  readonly push: (bytes: Uint8Array) => ReadonlyArray<unknown>
}

/** Returns a decoder that keeps at most `frameBytesMax` bytes and the header of an unfinished frame. */
export const makeDecoder = (frameBytesMax: number): FrameDecoder => {
  let parts: Array<Uint8Array> = []
  let heldBytes = 0
  /** Bytes that must be there before the next look: a header, or a header and its body. */
  let neededBytes = headerBytes

  const push = (bytes: Uint8Array): ReadonlyArray<unknown> => {
    // The bytes belong to the socket after this call, so what stays is copied.
    parts.push(bytes.slice())
    heldBytes += bytes.length
    if (heldBytes < neededBytes) return []
    const all = parts.length === 1 ? (parts[0] ?? bytes) : Buffer.concat(parts)
    const view = new DataView(all.buffer, all.byteOffset, all.byteLength)
    const values: Array<unknown> = []
    let at = 0
    neededBytes = headerBytes
    while (all.length - at >= headerBytes) {
      const bodyBytes = view.getUint32(at)
      if (bodyBytes > frameBytesMax) throw new RangeError(`frame of ${bodyBytes} bytes, at most ${frameBytesMax}`)
      neededBytes = headerBytes + bodyBytes
      if (all.length - at < neededBytes) break
      values.push(packr.unpack(all.subarray(at + headerBytes, at + neededBytes)))
      at += neededBytes
      neededBytes = headerBytes
    }
    parts = at === all.length ? [] : [all.subarray(at)]
    heldBytes = all.length - at
    return values
  }

  return { push }
}
