/** What a layer tells of a raw stream, handed to our stream; its listener may throw, which costs that stream alone. */
import type { CreditStream } from "../CreditStream.ts"
import type { RawStreamEvents } from "./RawSession.ts"

/** Calls a step of a stream and deals with what it throws. */
export type Guarded = (stream: CreditStream, step: () => void) => void

/** Returns the events of the raw stream under `stream`. */
export const eventsOf = (stream: CreditStream, guarded: Guarded): RawStreamEvents => ({
  data: (bytes) => guarded(stream, () => stream.unsafeReceive(bytes)),
  reset: (code) => guarded(stream, () => stream.unsafeResetByPeer(code)),
  cut: () => guarded(stream, () => stream.unsafeCut()),
  writable: () => guarded(stream, () => stream.unsafeFlush())
})
