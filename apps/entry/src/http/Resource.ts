/** One address with its methods: every other method is answered 405 with `Allow`, `OPTIONS` with what is allowed. */
import { type HttpApp, HttpRouter, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { Effect, type Scope } from "effect"
import { type ApiError, methodNotAllowed, toResponse } from "../OpenAiError.ts"

/** Represents the handler of one method; its `ApiError` becomes the response. */
export type Handler<R> = HttpApp.HttpApp<HttpServerResponse.HttpServerResponse, ApiError, R>

/** Makes the routes of one address. `HEAD` goes with `GET`. */
export const make = <R>(
  path: HttpRouter.PathInput,
  method: "GET" | "POST",
  handler: Handler<R>
): HttpRouter.HttpRouter<
  never,
  Exclude<R, HttpServerRequest.HttpServerRequest | HttpRouter.RouteContext | Scope.Scope>
> => {
  const allow = method === "GET" ? "GET, HEAD, OPTIONS" : "POST, OPTIONS"
  const refused = Effect.map(HttpServerRequest.HttpServerRequest, (request) =>
    toResponse(methodNotAllowed(request.method, request.url, allow))
  )
  const served: HttpApp.HttpApp<HttpServerResponse.HttpServerResponse, never, R> = Effect.catchTag(
    handler,
    "ApiError",
    (error) => Effect.succeed(toResponse(error))
  )
  const options = Effect.succeed(HttpServerResponse.empty({ status: 204, headers: { allow } }))
  const others = (["GET", "POST", "PUT", "PATCH", "DELETE"] as const).filter((other) => other !== method)
  return others.reduce(
    (router, other) => HttpRouter.route(other)(router, path, refused),
    HttpRouter.empty.pipe(HttpRouter.route(method)(path, served), HttpRouter.options(path, options))
  )
}
