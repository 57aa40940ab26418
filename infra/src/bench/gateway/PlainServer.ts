/**
 * The least a server can do: takes the same request, gives the same bytes back. What the entry takes beyond this is
 * what it adds. Told the bytes over IPC, answers with its URL.
 */
import { serve } from "../Programs.ts"

/** Represents a response to repeat. */
export interface PlainResponse {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

serve(({ body, headers }: PlainResponse): string => {
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request) => {
      await request.text()
      return new Response(body, { headers })
    }
  })
  return `http://127.0.0.1:${server.port}`
})
