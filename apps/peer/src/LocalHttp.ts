/** The peer's own page for its owner and for Prometheus, on loopback only: `/status`, `/metrics`, `/health`. */
import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { BunHttpServer } from "@effect/platform-bun"
import { Effect, Layer } from "effect"
import { register } from "prom-client"
import type { PeerStatus } from "./PeerStatus.ts"

/** Serves on `port` of 127.0.0.1 (0: a free one) until the scope closes; returns the URL. */
export const serve = Effect.fn("LocalHttp.serve")(function* (port: number, status: Effect.Effect<PeerStatus>) {
  const router = HttpRouter.empty.pipe(
    HttpRouter.get("/status", Effect.flatMap(status, HttpServerResponse.json)),
    HttpRouter.get("/health", HttpServerResponse.json({ status: "ok" })),
    HttpRouter.get(
      "/metrics",
      Effect.map(
        Effect.promise(() => register.metrics()),
        (text) => HttpServerResponse.text(text, { contentType: register.contentType })
      )
    )
  )
  const server = yield* BunHttpServer.make({ hostname: "127.0.0.1", port })
  yield* Layer.build(HttpServer.serve(router).pipe(Layer.provide(Layer.succeed(HttpServer.HttpServer, server))))
  return HttpServer.formatAddress(server.address)
})
