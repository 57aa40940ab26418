/** `GET /health`, without a key: whether the process answers. */
import { HttpServerResponse } from "@effect/platform"
import { Effect } from "effect"
import * as Resource from "./Resource.ts"

/** Says that the server is up; models and peers are no part of it. */
export const routes = Resource.make(
  "/health",
  Effect.succeed(HttpServerResponse.text('{"status":"ok"}', { contentType: "application/json" }))
)
