/** `GET /metrics`, without a key: everything on prom-client's global register, in Prometheus' text format. */
import { HttpServerResponse } from "@effect/platform"
import { Effect } from "effect"
import { register } from "prom-client"
import * as Resource from "./Resource.ts"

/** Shows the metrics. */
export const routes = Resource.make(
  "/metrics",
  Effect.map(
    Effect.promise(() => register.metrics()),
    (text) => HttpServerResponse.text(text, { contentType: register.contentType })
  )
)
