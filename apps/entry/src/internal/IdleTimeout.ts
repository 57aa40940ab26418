/** Bun's own idle timeout, lifted for one request: an answer may be silent longer than an idle connection may stay. */
import type { HttpServerRequest } from "@effect/platform"
import { Effect } from "effect"

/**
 * Lets a request's connection be silent until its response has ended. Platform-bun keeps the server that Bun needs for
 * it in a private field; where that is missing the timeout stays as it is.
 */
export const lift = (request: HttpServerRequest.HttpServerRequest): Effect.Effect<void> =>
  Effect.sync(() => {
    const server: unknown = Reflect.get(request, "bunServer")
    if (!isServer(server) || !(request.source instanceof Request)) return
    server.timeout(request.source, 0)
  })

// internal

const isServer = (value: unknown): value is Pick<Bun.Server<unknown>, "timeout"> =>
  typeof value === "object" && value !== null && "timeout" in value && typeof value.timeout === "function"
