/**
 * Between two least stages, in a process of its own as a peer is: takes frames off a Unix socket, sends them as
 * datagrams, and gives datagrams back to the socket a frame at a time. Nothing is checked, encrypted or sent again.
 */
import { serve } from "../Programs.ts"

/** Most bytes of a datagram: what a QUIC packet carries before it knows the path. */
const datagramBytes = 1200

/** Represents what it is told: first where to listen, then whom to send to. */
export type RelayQuestion =
  | { readonly kind: "listen"; readonly socketPath: string; readonly frameBytes: number }
  | { readonly kind: "send"; readonly port: number }

if (import.meta.main) {
  let to = 0
  serve(async (question: RelayQuestion): Promise<number> => {
    if (question.kind === "send") {
      to = question.port
      return to
    }
    const { frameBytes, socketPath } = question
    let stage: Bun.Socket<undefined> | undefined
    const udp = await Bun.udpSocket({
      hostname: "127.0.0.1",
      socket: { data: whole(frameBytes, (frame) => stage?.write(frame)) }
    })
    const send = whole(frameBytes, (frame) => {
      for (let at = 0; at < frameBytes; at += datagramBytes)
        udp.send(frame.subarray(at, at + datagramBytes), to, "127.0.0.1")
    })
    Bun.listen<undefined>({
      unix: socketPath,
      socket: {
        open: (socket) => {
          stage = socket
        },
        data: send
      }
    })
    return udp.port
  })
}

/** Returns who takes bytes as they come, and hands each `frameBytes` of them on; only one frame is on its way. */
export const whole = (frameBytes: number, onFrame: (frame: Buffer) => void): ((_: unknown, bytes: Buffer) => void) => {
  let parts: Array<Buffer> = []
  let heldBytes = 0
  return (_, bytes) => {
    parts.push(bytes)
    heldBytes += bytes.length
    if (heldBytes < frameBytes) return
    const frame = Buffer.concat(parts)
    parts = []
    heldBytes = 0
    onFrame(frame)
  }
}
