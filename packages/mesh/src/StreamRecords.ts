/**
 * Records of a credited stream, as they stand on the wire: a u32 (big-endian), then a payload. 0 ends the sender's
 * direction, 1…2¹⁴ announces so many data bytes, the top bit a grant of so many bytes (but for `RecordKind`).
 */

/** Record words that are neither data, end nor grant. */
export const RecordKind = {
  /** First word of a session's own control stream; never inside a credited stream. */
  control: 0xc0000000,
  /** Reset with the u32 code that follows, for layers that cannot carry a code beside the bytes. */
  reset: 0xc0000001
} as const

/** Longest data payload of one record: bounds how long a grant waits behind data on the same stream. */
export const payloadBytesMax = 16 * 1024

/** Marks a grant. */
export const grantBit = 0x80000000

/** Writes a u32. */
export const putWord = (into: Uint8Array, at: number, word: number): void => {
  into[at] = word >>> 24
  into[at + 1] = word >>> 16
  into[at + 2] = word >>> 8
  into[at + 3] = word
}

/** Returns the grant of so many bytes. */
export const grant = (bytes: number): Uint8Array => {
  const record = new Uint8Array(4)
  putWord(record, 0, grantBit + bytes)
  return record
}

/** Copies `length` bytes from `at` into records, headers included: one array and one call down for all of them. */
export const data = (bytes: Uint8Array, at: number, length: number): Uint8Array => {
  const out = new Uint8Array(length + 4 * Math.ceil(length / payloadBytesMax))
  let to = 0
  for (let from = 0; from < length; from += payloadBytesMax) {
    const payload = Math.min(payloadBytesMax, length - from)
    putWord(out, to, payload)
    out.set(bytes.subarray(at + from, at + from + payload), to + 4)
    to += 4 + payload
  }
  return out
}
