/** A provider on loopback that behaves as each test wants: a real second HTTP server. */

import type { FallbackConfig } from "@weft/entry/fallback/FallbackConfig"
import type { Socket } from "bun"
import { Deferred, Effect, Exit, FiberId, Option, Redacted, type Scope } from "effect"

/** Represents what a provider was asked. */
export interface Asked {
  readonly path: string
  readonly authorization: string | null
  readonly body: Record<string, unknown>
}

/** Represents a provider that runs. */
export interface TestProvider {
  /** Its base URL. */
  readonly url: string
  readonly asked: ReadonlyArray<Asked>
  /** Completes when an asker went away before the end of a stream. */
  readonly left: Effect.Effect<void>
  /** What the entry is configured with. */
  readonly config: (changes?: Partial<FallbackConfig>) => { readonly fallback: Option.Option<FallbackConfig> }
}

/** Answers one request. */
export type Behaviour = (asked: Asked) => Response | Promise<Response>

/** Starts a provider for the time of the scope. */
export const startProvider = (
  behaviour: (left: () => void) => Behaviour
): Effect.Effect<TestProvider, never, Scope.Scope> =>
  Effect.gen(function* () {
    const asked: Array<Asked> = []
    const left = Deferred.unsafeMake<void>(FiberId.none)
    const answer = behaviour(() => Deferred.unsafeDone(left, Exit.void))
    const server = yield* Effect.acquireRelease(
      Effect.sync(() =>
        Bun.serve({
          port: 0,
          hostname: "127.0.0.1",
          idleTimeout: 0,
          fetch: async (request) => {
            const one = {
              path: new URL(request.url).pathname,
              authorization: request.headers.get("authorization"),
              body: (await request.json()) as Record<string, unknown>
            }
            asked.push(one)
            return answer(one)
          }
        })
      ),
      (server) => Effect.promise(() => server.stop(true))
    )
    const url = urlOf(server.port ?? 0)
    return { url, asked, left: Deferred.await(left), config: (changes) => configOf(url, changes) }
  })

const urlOf = (port: number): string => `http://127.0.0.1:${port}/base/v1`

const configOf = (url: string, changes: Partial<FallbackConfig> = {}) => ({
  fallback: Option.some({
    url,
    key: Redacted.make("provider-key"),
    models: new Map([["plain", "their-model"]]),
    hasAllModels: false,
    tiers: new Set(["daily-driver", "capacity"] as const),
    perAddressHour: 1_000,
    ...changes
  })
})

/** Starts a provider that sends these pieces; `cut` closes its connections within their answers. */
export const startCutting = (
  pieces: ReadonlyArray<string>
): Effect.Effect<TestProvider & { readonly cut: Effect.Effect<void> }, never, Scope.Scope> =>
  Effect.gen(function* () {
    const sockets = new Set<Socket>()
    const server = yield* Effect.acquireRelease(
      Effect.sync(() =>
        Bun.listen({
          hostname: "127.0.0.1",
          port: 0,
          socket: {
            data: (socket) => {
              sockets.add(socket)
              const chunks = pieces.map((piece) => `${Buffer.byteLength(piece).toString(16)}\r\n${piece}\r\n`)
              socket.write(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${chunks.join("")}`)
            }
          }
        })
      ),
      (server) => Effect.sync(() => server.stop(true))
    )
    const cut = Effect.sync(() => {
      for (const socket of sockets) socket.end()
    })
    const url = urlOf(server.port)
    return { url, asked: [], left: Effect.void, cut, config: (changes) => configOf(url, changes) }
  })

const event = (data: unknown): string => `data: ${JSON.stringify(data)}\n\n`

const usage = { prompt_tokens: 11, completion_tokens: 5, total_tokens: 16, prompt_tokens_details: { cached_tokens: 3 } }

/** Returns a chunk of a chat as an event. */
export const chunk = (choice: unknown, more: Record<string, unknown> = {}): string =>
  event({ id: "theirs", object: "x", created: 1, model: "their-model-2", choices: [choice], ...more })

/** Returns an event with text. */
export const say = (content: string): string => chunk({ index: 0, delta: { content }, finish_reason: null })

/** The events of a usual answer: a role, two texts, the end, the usage. */
export const usual: ReadonlyArray<string> = [
  chunk({ index: 0, delta: { role: "assistant", content: "" }, finish_reason: null }),
  say("Hello "),
  say("from afar"),
  chunk({ index: 0, delta: {}, finish_reason: "stop" }),
  event({ choices: [], usage }),
  "data: [DONE]\n\n"
]

/** Returns a stream of these pieces; what is behind a promise waits for it, what is behind `undefined` for ever. */
export const streaming = (
  pieces: ReadonlyArray<string | Uint8Array | Promise<string> | undefined>,
  left = () => {}
): Response => {
  const encoder = new TextEncoder()
  let at = 0
  return new Response(
    new ReadableStream({
      pull: async (controller) => {
        if (at >= pieces.length) return controller.close()
        const piece = await pieces[at++]
        if (piece === undefined) return new Promise(() => {})
        controller.enqueue(typeof piece === "string" ? encoder.encode(piece) : piece)
      },
      cancel: left
    }),
    { headers: { "content-type": "text/event-stream" } }
  )
}
