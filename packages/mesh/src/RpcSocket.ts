/** A mesh stream as the `Socket` that Effect's RPC speaks over: one stream per direction of a link's control plane. */
import { Socket } from "@effect/platform"
import { Effect, Option } from "effect"
import type { MeshStream } from "./Transport.ts"

/**
 * Returns the socket over `stream`. Bytes are handled one piece after the other, so a busy handler holds the sender by
 * credit. It runs once: when the stream ends the socket fails with a close error, and the link that owns the stream
 * decides what follows. A failed write is a typed error, never a defect.
 */
export const make = (stream: MeshStream): Socket.Socket => {
  const runRaw: Socket.Socket["runRaw"] = Effect.fnUntraced(function* (handler, options) {
    if (options?.onOpen !== undefined) yield* options.onOpen
    while (true) {
      const next = yield* Effect.mapError(stream.read, failed("Read"))
      if (Option.isNone(next)) return yield* new Socket.SocketCloseError({ reason: "Close", code: 1000 })
      const handled = handler(next.value)
      if (Effect.isEffect(handled)) yield* handled
    }
  })
  return {
    [Socket.TypeId]: Socket.TypeId,
    runRaw,
    run: (handler, options) => runRaw((bytes) => handler(toBytes(bytes)), options),
    writer: Effect.acquireRelease(
      Effect.succeed((chunk) =>
        Socket.isCloseEvent(chunk) ? stream.reset(0) : Effect.mapError(stream.write(toBytes(chunk)), failed("Write"))
      ),
      () => stream.reset(0)
    )
  }
}

// internal

const failed = (reason: "Read" | "Write") => (cause: unknown) => new Socket.SocketGenericError({ reason, cause })

const toBytes = (chunk: string | Uint8Array): Uint8Array =>
  typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk
