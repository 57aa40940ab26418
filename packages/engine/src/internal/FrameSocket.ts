/**
 * One end of the socket pair between a supervisor and its engine host, a descriptor apart from standard output and
 * error so that nothing native code prints can reach it. Frames in go to a callback at once; frames out wait only for
 * the kernel.
 */
import { concat, FrameBuffer } from "@weft/mesh/FrameBuffer"
import * as Frames from "@weft/mesh/Frames"
import * as Msgpack from "@weft/mesh/Msgpack"
import { Effect, Option, type Scope } from "effect"
import { frameBytesMax } from "../EngineProtocol.ts"

/**
 * Most bytes that wait for the other side to read; beyond it the other side is taken for stuck and the socket closed.
 */
const unsentBytesMax = 8 * frameBytesMax

/** Represents an open socket. */
export interface FrameSocket {
  /**
   * Sends values in one piece, so that the other side is woken once; false where the frame of one is over the bound,
   * and then nothing was sent. After the close nothing happens.
   */
  readonly send: (...values: ReadonlyArray<unknown>) => boolean
  /** All that was sent has gone to the kernel. */
  readonly isSent: () => boolean
}

/** Represents who is told what happens on a socket; `onClose` is called once at most, and not for the own close. */
export interface FrameSocketHandlers {
  readonly onFrame: (value: unknown) => void
  readonly onClose: (why: string) => void
}

/** Takes descriptor `fd` over and closes it with the scope. */
export const open = (fd: number, handlers: FrameSocketHandlers): Effect.Effect<FrameSocket, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(() => connect(fd, handlers)),
    (socket) => Effect.sync(socket.close)
  )

/** The frames of values one behind another; undefined where one is over the bound. */
const pieceOf = (values: ReadonlyArray<unknown>): Uint8Array | undefined => {
  const frames = values.map(Frames.frame)
  return frames.some(({ length }) => length > frameBytesMax) ? undefined : concat(frames)
}

const connect = async (fd: number, handlers: FrameSocketHandlers) => {
  const received = new FrameBuffer()
  let unsent: Array<Uint8Array> = []
  let unsentBytes = 0
  let open = true

  const flush = (): void => {
    while (open && unsent[0] !== undefined) {
      const written = Math.max(0, socket.write(unsent[0]))
      unsentBytes -= written
      if (written < unsent[0].length) {
        unsent[0] = unsent[0].subarray(written)
        return
      }
      unsent.shift()
    }
  }

  const end = (why?: string): void => {
    if (!open) return
    open = false
    unsent = []
    socket.end()
    if (why !== undefined) handlers.onClose(why)
  }

  /** Takes the next value off what was received; undefined where there is none, or the channel was closed over it. */
  const next = (): Option.Option<unknown> | undefined => {
    const length = received.nextBytes
    const isOver = length !== undefined && length > frameBytesMax
    const payload = isOver ? undefined : received.take()
    const value = payload === undefined ? undefined : Msgpack.decode(payload)
    if (isOver) end(`a frame of ${length} bytes is over the bound`)
    else if (value !== undefined && Option.isNone(value)) end("a frame is not MessagePack")
    return value
  }

  const receive = (bytes: Uint8Array): void => {
    received.push(bytes)
    for (let value = next(); open && value !== undefined && Option.isSome(value); value = next()) {
      handlers.onFrame(value.value)
    }
  }

  const options: Bun.FdSocketOptions = {
    fd,
    socket: {
      data: (_, bytes) => receive(bytes),
      drain: flush,
      end: () => end("the other side closed the channel"),
      close: () => end("the channel was closed"),
      error: (_, error) => end(`the channel broke: ${error.message}`)
    }
  }
  // Bun documents these options and takes them, but its types lack the overload.
  const socket = await Bun.connect(options as unknown as Bun.UnixSocketOptions)

  const send = (...values: ReadonlyArray<unknown>): boolean => {
    if (!open) return true
    const piece = pieceOf(values)
    if (piece === undefined) return false
    unsent.push(piece)
    unsentBytes += piece.length
    if (unsent.length === 1) flush()
    if (unsentBytes > unsentBytesMax) end("the other side does not read")
    return true
  }

  return { send, isSent: () => unsent.length === 0, close: () => end() }
}
