/** Values in frames as the mesh writes them: within its bounds, and checked against nothing. */
import * as Frames from "@weft/mesh/Frames"
import * as Msgpack from "@weft/mesh/Msgpack"
import { Option } from "effect"

/** Returns what takes the bytes of one stream; `then` is called with each value. Throws where what comes is none. */
export const reader = (then: (value: unknown) => void): ((bytes: Uint8Array) => void) => {
  const feed = new Frames.FrameFeed(Frames.frameBytesMax)
  return (bytes) => {
    feed.push(bytes)
    for (let payload = feed.next(); payload !== undefined; payload = feed.next()) {
      if (!(payload instanceof Uint8Array)) throw payload
      then(Option.getOrThrow(Msgpack.decode(payload)))
    }
  }
}
