/**
 * Takes back the request whose answer is under way on a stream: the entry sends it, the peer ends the answer with a
 * `Failed` of code `cancelled`, and the stream is free. One that crosses the end of its answer does nothing.
 */
import * as Frames from "@weft/mesh/Frames"

/** A frame with nil, MessagePack's shortest value. */
export const withdrawal: Uint8Array = Frames.frame(null)

const nil = 0xc0

/** Returns whether the payload of a frame is a withdrawal. */
export const isWithdrawal = (payload: Uint8Array): boolean => payload.length === 1 && payload[0] === nil
