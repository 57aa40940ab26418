/**
 * One QUIC stream between two processes without any code of the mesh: what the least gateways and their peers talk
 * over.
 */
import { createPrivateKey } from "node:crypto"
import * as quic from "node:quic"
import * as Certificate from "@weft/mesh/Certificate"
import { Effect } from "effect"

/** Sends bytes, however many. */
export type Write = (bytes: Uint8Array) => void

/** Takes bytes as they come. */
export type Read = (bytes: Uint8Array) => void

/** Accepts sessions on a free port of the loopback; `serve` is called for each stream. Returns its `HOST:PORT`. */
export const listen = async (serve: (write: Write) => Read): Promise<string> => {
  const { certPem, keyPem } = await Effect.runPromise(Certificate.make)
  const endpoint = await quic.listen(
    (session) => {
      session.onstream = (stream) => void pump(stream, serve(writeTo(stream)))
    },
    {
      endpoint: { address: "127.0.0.1:0" },
      sni: { "*": { keys: [createPrivateKey(keyPem)], certs: [new TextEncoder().encode(certPem)] } },
      alpn: [alpn],
      transportParams
    }
  )
  return `127.0.0.1:${endpoint.address?.port}`
}

/** Opens a session to `address` and one stream on it. */
export const connect = async (address: string, read: Read): Promise<Write> => {
  const session = await quic.connect(address, { alpn, servername: "weft", verifyPeer: "manual", transportParams })
  await session.opened
  const stream = await session.createBidirectionalStream()
  void pump(stream, read)
  return writeTo(stream)
}

// internal

const alpn = "weft-least/1"

/** In seconds, as Bun counts them: a stream rests while others are measured. */
const transportParams = { maxIdleTimeout: 600 }

/** The part of a stream's writer that is used here. */
interface Writer {
  readonly writeSync: (bytes: Uint8Array) => boolean
}

const writeTo = (stream: quic.QuicStream): Write => {
  // `@types/node` names another writer than Bun's object has.
  const writer = stream.writer as unknown as Writer
  return (bytes) => void writer.writeSync(bytes)
}

const pump = async (stream: quic.QuicStream, read: Read): Promise<void> => {
  for await (const batch of stream) for (const bytes of batch) read(bytes)
}
