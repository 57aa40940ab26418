/**
 * Behind the least gateway, in a process of its own: gives the same bytes back for every request, over raw QUIC streams
 * and without any code of the mesh. Told the sizes and the bytes over IPC, answers with its address.
 */
import { createPrivateKey } from "node:crypto"
import * as quic from "node:quic"
import * as Certificate from "@weft/mesh/Certificate"
import { Effect } from "effect"
import { serve } from "../Programs.ts"

/** Represents what to answer: `body` for every `requestBytes` bytes that come. */
export interface LeastAnswer {
  readonly requestBytes: number
  readonly body: string
}

/** ALPN of this pair of processes. */
export const alpn = "weft-least/1"

/** The writer that Bun's streams have. */
export interface RawWriter {
  readonly writeSync: (bytes: Uint8Array) => boolean
}

if (import.meta.main) {
  serve(async ({ body, requestBytes }: LeastAnswer): Promise<string> => {
    const certificate = await Effect.runPromise(Certificate.make)
    const reply = new TextEncoder().encode(body)
    const answer = async (stream: quic.QuicStream): Promise<void> => {
      // `@types/node` names another writer than Bun's object has.
      const writer = stream.writer as unknown as RawWriter
      let due = 0
      for await (const batch of stream) {
        for (const bytes of batch) due += bytes.length
        for (; due >= requestBytes; due -= requestBytes) writer.writeSync(reply)
      }
    }
    const endpoint = await quic.listen(
      (session) => {
        session.onstream = (stream) => void answer(stream)
      },
      {
        endpoint: { address: "127.0.0.1:0" },
        sni: {
          "*": { keys: [createPrivateKey(certificate.keyPem)], certs: [new TextEncoder().encode(certificate.certPem)] }
        },
        alpn: [alpn]
      }
    )
    return `127.0.0.1:${endpoint.address?.port}`
  })
}
