/** Where the bytes of a GGUF file come from: a file, or pieces of one that are gathered elsewhere. */
import { Effect } from "effect"
import { GgufRejected } from "./GgufRejected.ts"

/** Represents readable bytes of a known length. */
export interface ByteSource {
  readonly sizeBytes: number
  /**
   * Returns the bytes from `offset`, `length` of them or fewer where the source ends; both are within `sizeBytes`.
   * Fails with `Unreadable`.
   */
  readonly read: (offset: number, length: number) => Effect.Effect<Uint8Array, GgufRejected>
}

/** Returns `bytes` as a source. */
export const fromBytes = (bytes: Uint8Array): ByteSource => ({
  sizeBytes: bytes.length,
  read: (offset, length) => Effect.succeed(bytes.subarray(offset, offset + length))
})

/** Returns the rejection for bytes that could not be read. */
export const unreadable = (error: unknown): GgufRejected =>
  new GgufRejected({ reason: "Unreadable", detail: error instanceof Error ? error.message : String(error) })
