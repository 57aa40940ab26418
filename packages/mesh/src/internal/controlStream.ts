/**
 * Records of a session's own control stream, which the dialling side opens first: the marker word of `CreditStream`,
 * then records of 5 bytes, kind and u32 id (big-endian). It carries pings only, so nothing on it is worth waiting for.
 */
import { RecordKind } from "../StreamRecords.ts"

const recordBytes = 5
const ping = 1
const pong = 2

/** Returns the first word of a control stream. */
export const marker = (): Uint8Array => {
  const out = new Uint8Array(4)
  new DataView(out.buffer).setUint32(0, RecordKind.control)
  return out
}

const encode = (kind: number, id: number): Uint8Array => {
  const out = new Uint8Array(recordBytes)
  out[0] = kind
  new DataView(out.buffer).setUint32(1, id)
  return out
}

/** Returns a ping with an id of our choice. */
export const encodePing = (id: number): Uint8Array => encode(ping, id)

/** Returns the answer to the ping with this id. */
export const encodePong = (id: number): Uint8Array => encode(pong, id)

/** Returns a decoder that takes bytes in any pieces and calls back per record; it returns false on an unknown kind. */
export const decoder = (on: { readonly ping: (id: number) => void; readonly pong: (id: number) => void }) => {
  const record = new Uint8Array(recordBytes)
  const view = new DataView(record.buffer)
  let filled = 0
  return (bytes: Uint8Array): boolean => {
    for (const byte of bytes) {
      record[filled++] = byte
      if (filled < recordBytes) continue
      filled = 0
      if (record[0] === ping) on.ping(view.getUint32(1))
      else if (record[0] === pong) on.pong(view.getUint32(1))
      else return false
    }
    return true
  }
}
