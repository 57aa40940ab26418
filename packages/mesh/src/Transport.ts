/**
 * How two processes reach one another: dial an address or accept who dials, and get a session of bidirectional streams.
 * Implemented over QUIC (`QuicTransport.ts`), WebTransport (`WebTransport.ts`) and memory (`MemoryTransport.ts`); one
 * conformance suite holds all three to what is written here.
 */
import { Context, type Effect, type Option, type Scope } from "effect"
import type { SessionError, StreamError } from "./MeshError.ts"

/** Is told what happens on one stream, in order and at once, in place of a fiber that reads. */
export interface StreamListener {
  /** Bytes came, at least one; they are taken with this, so who cannot keep up must reset the stream. */
  readonly data: (bytes: Uint8Array) => void
  /** The other side ended its direction; no more bytes come. */
  readonly ended: () => void
  /** Both directions have ended and everything was handed to the layer; nothing is told after this. */
  readonly closed: () => void
  /** The stream was reset, by either side, or lost; nothing is told after this, and never both it and `closed`. */
  readonly failed: (error: StreamError) => void
  /** Some 300 ms passed; `nowMs` never goes back. Deadlines are kept with this, so that no stream needs a timer. */
  readonly tick: (nowMs: number) => void
}

/** Represents one bidirectional byte stream with credit-based flow control and an explicit end in each direction. */
export interface MeshStream {
  /**
   * Sends bytes in order. Waits while the other side's credit is used up, so a reader that sleeps holds its writer and
   * nothing else. The array must not be changed until the effect completes.
   */
  readonly write: (bytes: Uint8Array) => Effect.Effect<void, StreamError>
  /** Takes the next bytes (any length ≥ 1), `None` after the other side's explicit end; a bare cut is `StreamError`. */
  readonly read: Effect.Effect<Option.Option<Uint8Array>, StreamError>
  /** Ends our direction; what was written before still arrives. The other direction goes on. */
  readonly end: Effect.Effect<void, StreamError>
  /** Gives the stream up in both directions; the other side fails with `Reset` and `code`. Never fails, idempotent. */
  readonly reset: (code: number) => Effect.Effect<void>
  /** Completes when both directions ended cleanly; fails at once when the stream is reset or lost, read or not. */
  readonly closed: Effect.Effect<void, StreamError>
  /** Tells `listener` what comes from now on, unread bytes first; undefined lets bytes wait for a reader again. */
  unsafeListen(listener: StreamListener | undefined): void
  /** Puts the end of what was read last back, to be read again. */
  unsafeUnread(bytes: Uint8Array): void
  /** Lets the other side be so many bytes ahead of the reader from now on, up to 8 MiB; a window never shrinks. */
  unsafeWiden(windowBytes: number): void
  /**
   * Sends like `write` and returns how many bytes wait for credit now, of this write and earlier ones: the caller
   * bounds them. The array must not change.
   */
  unsafeWrite(bytes: Uint8Array): number
  /** Ends our direction after what was written. */
  unsafeEnd(): void
  /** Resets the stream; nothing happens when it is over already. */
  unsafeReset(code: number): void
}

/** Represents what a session measured; a figure is absent where the layer cannot tell. */
export interface SessionStats {
  /** Smoothed round-trip time in milliseconds. */
  readonly rttMs: number | undefined
  readonly packetsSent: number | undefined
  readonly packetsLost: number | undefined
  readonly bytesSent: number
  readonly bytesReceived: number
}

/** Represents unreliable, unordered messages beside the streams, each at most `sizeBytesMax` long. */
export interface Datagrams {
  readonly sizeBytesMax: number
  readonly send: (bytes: Uint8Array) => Effect.Effect<void, SessionError>
  /** Takes the next datagram; the oldest are dropped when nobody takes them. */
  readonly receive: Effect.Effect<Uint8Array, SessionError>
}

/** Represents a live connection to one other process. */
export interface Session {
  /** `dialled` by us, or `accepted` from them. */
  readonly direction: "dialled" | "accepted"
  /** The other side as the layer names it, e.g. `127.0.0.1:4433`. */
  readonly remoteAddress: string
  /** SHA-256 of the listening side's certificate (DER): theirs when dialled, ours when accepted. 32 bytes. */
  readonly serverCertificateSha256: Uint8Array
  /** Opens a stream; fails with `TooManyStreams` beyond the layer's bound. */
  readonly open: Effect.Effect<MeshStream, SessionError>
  /** Opens a stream like `open`, without a fiber; rejects with a `SessionError`. */
  readonly unsafeOpen: () => Promise<MeshStream>
  /** Takes the next stream that the other side opened; a bounded number wait, more are reset. */
  readonly accept: Effect.Effect<MeshStream, SessionError>
  /** Hands streams that the other side opens to `take` at once; those that wait already are still for `accept`. */
  readonly unsafeServe: (take: ((stream: MeshStream) => void) | undefined) => void
  readonly datagrams: Option.Option<Datagrams>
  readonly stats: Effect.Effect<SessionStats>
  /** Completes when the session is over, with why; a dead other side is noticed within 2 s. */
  readonly closed: Effect.Effect<SessionError>
  /** Leaves: the other side is told `code` and `reason` at once, open streams fail. Never fails, idempotent. */
  readonly close: (code: number, reason: string) => Effect.Effect<void>
}

/** Dials and accepts sessions at one local address. Its layer closes every session when released. */
export class Transport extends Context.Tag("@weft/mesh/Transport")<
  Transport,
  {
    /** First part of the addresses this layer dials: `quic://HOST:PORT`, `https://HOST:PORT/weft`, `memory://NAME`. */
    readonly scheme: "quic" | "https" | "memory"
    /** Where this side listens, as others dial it. */
    readonly address: string
    /** Makes a session within the dial deadline; it is closed with the scope. */
    readonly dial: (address: string) => Effect.Effect<Session, SessionError, Scope.Scope>
    /** Takes the next session that somebody dialled; a bounded number wait, more are refused. */
    readonly accept: Effect.Effect<Session>
  }
>() {}
