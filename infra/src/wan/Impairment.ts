/**
 * What a link does to datagrams: when each leaves at the other end, or how it is lost. Pure: fates follow from the
 * seed, the datagram's number, the time and what waits already. A lane is one direction, owned by the proxy.
 */
import * as Seeded from "../bench/Seeded.ts"

/** Represents a link; both directions are alike. */
export interface Impairment {
  /** Time one way, without queue and sending. */
  readonly delayMs: number
  /** Most that the delay differs, both ways, evenly; order is kept all the same. */
  readonly jitterMs: number
  /** Part of the datagrams that is lost, 0 … 1. */
  readonly lossShare: number
  /** Infinity for a link that sends at once. */
  readonly rateBitsPerSecond: number
  /** Bytes that may wait to be sent, the one being sent included; a datagram that does not fit is dropped. */
  readonly queueBytes: number
  readonly seed: number
}

/** A link that does nothing; 256 KiB in the queue are what a home router holds back at 20 Mbit/s: 100 ms. */
export const none: Impairment = {
  delayMs: 0,
  jitterMs: 0,
  lossShare: 0,
  rateBitsPerSecond: Number.POSITIVE_INFINITY,
  queueBytes: 256 * 1024,
  seed: 1
}

/** Bytes on their way in one lane: 1 Gbit/s for 500 ms. A link that sends at once would hold any number otherwise. */
export const underwayBytesMax = 64 * 1024 * 1024

/** Represents one direction of a link at one moment. */
export interface Lane {
  readonly direction: "up" | "down"
  /** Datagrams so far, lost ones included. */
  readonly count: number
  /** When everything that waits will have been sent. */
  readonly freeAtMs: number
  /** When the last datagram leaves; none leaves earlier. */
  readonly lastAtMs: number
}

/** Represents what becomes of a datagram. */
export type Fate =
  | { readonly kind: "leaves"; readonly atMs: number }
  | { readonly kind: "lost" }
  | { readonly kind: "overflows" }

/** Returns an idle lane. */
export const lane = (direction: Lane["direction"]): Lane => ({ direction, count: 0, freeAtMs: 0, lastAtMs: 0 })

/**
 * Returns the fate of the next datagram of a lane and the lane after it. Whether it is lost depends on seed, direction
 * and number alone. `nowMs` must not go back; `underwayBytes` is what has not left yet.
 */
export const fate = (
  impairment: Impairment,
  before: Lane,
  datagram: { readonly sizeBytes: number; readonly nowMs: number; readonly underwayBytes: number }
): { readonly fate: Fate; readonly lane: Lane } => {
  const { delayMs, jitterMs, lossShare, queueBytes, rateBitsPerSecond } = impairment
  const { nowMs, sizeBytes, underwayBytes } = datagram
  const counted = { ...before, count: before.count + 1 }
  const chance = chanceOf(impairment.seed, before)
  if (chance.unit() < lossShare) return { fate: { kind: "lost" }, lane: counted }
  const beginsMs = Math.max(before.freeAtMs, nowMs)
  const msPerByte = 8_000 / rateBitsPerSecond
  const waitingBytes = msPerByte === 0 ? 0 : (beginsMs - nowMs) / msPerByte
  if (waitingBytes + sizeBytes > queueBytes || underwayBytes + sizeBytes > underwayBytesMax)
    return { fate: { kind: "overflows" }, lane: counted }
  const freeAtMs = beginsMs + sizeBytes * msPerByte
  const wayMs = Math.max(0, delayMs + jitterMs * (2 * chance.unit() - 1))
  const atMs = Math.max(freeAtMs + wayMs, before.lastAtMs)
  return { fate: { kind: "leaves", atMs }, lane: { ...counted, freeAtMs, lastAtMs: atMs } }
}

// internal

/** Odd factors (the golden ratio's, and one of MurmurHash3's) make different streams of different seeds and numbers. */
const chanceOf = (seed: number, { count, direction }: Lane): Seeded.Seeded =>
  Seeded.make(Math.imul(seed, 0x9e3779b1) ^ Math.imul(2 * count + (direction === "up" ? 0 : 1), 0x85ebca6b))
