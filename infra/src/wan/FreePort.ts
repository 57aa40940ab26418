/** A UDP port for who must be told where a proxy stands before there is anybody behind it. */
import { createSocket } from "node:dgram"
import { Effect } from "effect"

/** Returns a UDP port of 127.0.0.1 that nobody has now; whoever is quick can take it first. */
export const freePort: Effect.Effect<number> = Effect.async((resume) => {
  const socket = createSocket("udp4")
  socket.bind(0, "127.0.0.1", () => {
    const { port } = socket.address()
    socket.close(() => resume(Effect.succeed(port)))
  })
})
