/**
 * A mesh stream as the `Socket` that Effect's RPC speaks over: one stream per direction of a link's control plane, one
 * frame per message. Frames are bounded and scanned before the RPC layer, which trusts its bytes, sees them.
 */
import { Socket } from "@effect/platform"
import { Effect, Option } from "effect"
import * as Frames from "./Frames.ts"
import { ResetCode } from "./Link.ts"
import type { MeshStream } from "./Transport.ts"

/** Messages that wait for a reader's credit; one that asks so much and reads nothing is not worth the memory. */
const writesWaitingMax = 256

/**
 * Returns the socket over `stream`. Messages are handled one after the other, so a busy
 * handler holds the sender by credit. It runs once: when the stream ends the socket fails with a close error, and the
 * link that owns the stream decides what follows. A bad frame and a reader that lets too much wait reset the stream. A
 * failed write is a typed error, never a defect.
 */
export const make = (stream: MeshStream): Socket.Socket => {
  const next = Frames.reader(stream).readPayload.pipe(
    Effect.tapErrorTag("FrameError", () => stream.reset(ResetCode.malformed)),
    Effect.mapError(failed("Read"))
  )
  const runRaw: Socket.Socket["runRaw"] = Effect.fnUntraced(function* (handler, options) {
    if (options?.onOpen !== undefined) yield* options.onOpen
    while (true) {
      const message = yield* next
      if (Option.isNone(message)) return yield* new Socket.SocketCloseError({ reason: "Close", code: 1000 })
      const handled = handler(message.value)
      if (Effect.isEffect(handled)) yield* handled
    }
  })
  let waiting = 0
  const write = (message: Uint8Array) =>
    Effect.suspend(() => {
      if (waiting === writesWaitingMax) return stream.reset(ResetCode.overrun)
      waiting += 1
      return Effect.ensuring(
        Effect.mapError(stream.write(Frames.encodePayload(message)), failed("Write")),
        Effect.sync(() => {
          waiting -= 1
        })
      )
    })
  return {
    [Socket.TypeId]: Socket.TypeId,
    runRaw,
    run: (handler, options) => runRaw((bytes) => handler(toBytes(bytes)), options),
    writer: Effect.acquireRelease(
      Effect.succeed((chunk) => (Socket.isCloseEvent(chunk) ? stream.reset(0) : write(toBytes(chunk)))),
      () => stream.reset(0)
    )
  }
}

// internal

const failed = (reason: "Read" | "Write") => (cause: unknown) => new Socket.SocketGenericError({ reason, cause })

const toBytes = (chunk: string | Uint8Array): Uint8Array =>
  typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk
