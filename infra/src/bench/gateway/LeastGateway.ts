/**
 * The least a gateway over QUIC can do: takes the same request, sends its bytes over one stream that stays open to a
 * process that answers at once, and gives the same response back. It checks nothing and knows no peers, keys, limits
 * or metrics. What it adds is what sockets and wake-ups of this computer cost, whatever a gateway does in between.
 */
import { serve } from "../Programs.ts"
import type { PlainResponse } from "./PlainServer.ts"
import * as RawQuic from "./RawQuic.ts"

/** Represents where the answers come from and what they look like. */
export interface LeastResponse extends PlainResponse {
  readonly address: string
}

serve(async ({ address, body, headers }: LeastResponse): Promise<string> => {
  const waiting: Array<(text: string) => void> = []
  const decoder = new TextDecoder()
  let text = ""
  const write = await RawQuic.connect(address, (bytes) => {
    text += decoder.decode(bytes, { stream: true })
    for (; text.length >= body.length; text = text.slice(body.length)) waiting.shift()?.(text.slice(0, body.length))
  })
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request) => {
      const asked = new Uint8Array(await request.arrayBuffer())
      const { promise, resolve } = Promise.withResolvers<string>()
      waiting.push(resolve)
      write(asked)
      return new Response(await promise, { headers })
    }
  })
  return `http://127.0.0.1:${server.port}`
})
