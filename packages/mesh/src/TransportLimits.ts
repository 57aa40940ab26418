/** The bounds that every transport layer keeps, and their defaults. */
import { Duration } from "effect"

/** Represents what one transport may hold and how long it may wait. */
export interface TransportLimits {
  /** Unread bytes a stream's reader may hold, and so the bytes its writer may be ahead; equal on both sides. */
  readonly windowBytes: number
  /** Streams of one session that either side may have opened and not finished. */
  readonly streamsMax: number
  /** Streams of one session that may wait to be accepted. */
  readonly streamsWaitingMax: number
  /** Live sessions that others dialled. */
  readonly sessionsMax: number
  /** Sessions that may wait to be accepted. */
  readonly sessionsWaitingMax: number
  /** Longest wait for a dial. */
  readonly dialTimeout: Duration.Duration
}

/** Returns the default limits. */
export const defaults: TransportLimits = {
  // 256 KiB fill 20 Mbit/s at 100 ms round trip; a hostile session can pin at most streamsMax times this.
  windowBytes: 256 * 1024,
  // Requests run one per stream; a peer serves tens at a time, the rest is room for pipeline edges and shards.
  streamsMax: 256,
  // Streams are taken in the turn they arrive; this many only wait while the process is busy.
  streamsWaitingMax: 128,
  // An entry with this many volunteers wants a second entry.
  sessionsMax: 4096,
  sessionsWaitingMax: 256,
  // Two lost first packets on a bad line cost about 3 s; whoever needs longer is not worth a request.
  dialTimeout: Duration.seconds(5)
}
