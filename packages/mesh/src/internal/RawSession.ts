/**
 * What a layer (QUIC, WebTransport, memory) must offer so that `Session.ts` can build ours on top: plain callbacks, no
 * credit, no identity. Calls go down through these objects, events come up through the handlers given to `listen`.
 */

/** Receives what happens to one raw stream. Nothing is called before `listen` nor after `cut` or `reset`. */
export interface RawStreamEvents {
  /** Bytes in order, any length ≥ 1; the receiver may keep the array. */
  readonly data: (bytes: Uint8Array) => void
  /** The other side resets the stream. */
  readonly reset: (code: number) => void
  /** No more bytes will come: a clean end or a lost session, the layers cannot tell which. */
  readonly cut: () => void
  /** A `write` that was refused may be tried again. */
  readonly writable: () => void
}

/** Represents a bidirectional byte stream of a layer; it may buffer, and need not push back on the other side. */
export interface RawStream {
  /** Starts the flow of events; called once. */
  readonly listen: (events: RawStreamEvents) => void
  /** Returns whether the bytes were taken, whole; after `false`, `writable` follows unless the stream is dead. */
  readonly write: (bytes: Uint8Array) => boolean
  /** Ends our direction after what was written. */
  readonly end: () => void
  /** Gives up both directions at once; the code (0 to 2³²−1) reaches the other side. */
  readonly reset: (code: number) => void
}

/** Says why a raw session is over: the other side left with a code, or it was lost. */
export type RawClose =
  | { readonly kind: "left"; readonly code: number; readonly reason: string }
  | { readonly kind: "lost"; readonly cause: unknown }

/** Receives what happens to one raw session. */
export interface RawSessionEvents {
  /** The other side opened a stream. */
  readonly stream: (stream: RawStream) => void
  readonly datagram: (bytes: Uint8Array) => void
  /** The session is over; called at most once, and not after our own `close`. */
  readonly closed: (why: RawClose) => void
}

/** Represents a session that has as many streams as its layer carries. */
export class NoStreamFree extends Error {}

/** Represents the figures a layer measures itself; absent where it cannot. */
export interface RawStats {
  readonly rttMs?: number
  /** Bytes of whole packets. */
  readonly bytesSent?: number
  readonly bytesReceived?: number
  readonly packetsSent?: number
  readonly packetsReceived?: number
  readonly packetsLost?: number
}

/** Represents a layer's live connection to one other process. */
export interface RawSession {
  readonly remoteAddress: string
  readonly serverCertificateSha256: Uint8Array
  /** Bytes each way, and streams in all, that a session can carry in its life; absent where it has no bound. */
  readonly lifetime?: { readonly bytesMax: number; readonly streamsMax: number }
  /** Starts the flow of events; called once. What happened before is kept and told then. */
  readonly listen: (events: RawSessionEvents) => void
  /** Rejects with `NoStreamFree` where the layer has no room for one more now. */
  readonly open: () => Promise<RawStream>
  /** Leaves: the other side is told at once. */
  readonly close: (code: number, reason: string) => void
  readonly stats: () => RawStats
  readonly datagrams: { readonly sizeBytesMax: number; readonly send: (bytes: Uint8Array) => void } | undefined
}
