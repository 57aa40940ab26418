/** One address with its methods: every other method is answered 405 with `Allow`, `OPTIONS` with what is allowed. */
import { type HttpApp, HttpRouter, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { Effect } from "effect"
import { type ApiError, methodNotAllowed, toResponse } from "../OpenAiError.ts"

/** Represents the handler of one method; its `ApiError` becomes the response. */
export type Handler<R> = HttpApp.HttpApp<HttpServerResponse.HttpServerResponse, ApiError, R>

/** Makes the routes of an address that is read. `HEAD` goes with `GET`. */
export const make = <R>(
  path: HttpRouter.PathInput,
  handler: Handler<R>
): HttpRouter.HttpRouter<never, HttpRouter.HttpRouter.ExcludeProvided<R>> => {
  const served: HttpApp.HttpApp<HttpServerResponse.HttpServerResponse, never, R> = Effect.catchTag(
    handler,
    "ApiError",
    (error) => Effect.succeed(toResponse(error))
  )
  return HttpRouter.get(others(path, "GET", "GET, HEAD, OPTIONS"), path, served)
}

/** Makes the routes of an address whose `POST` goes round the router. */
export const makePosted = (path: HttpRouter.PathInput): HttpRouter.HttpRouter => others(path, "POST", "POST, OPTIONS")

// internal

/** Returns the routes of all methods but `method`. */
const others = (path: HttpRouter.PathInput, method: "GET" | "POST", allow: string): HttpRouter.HttpRouter => {
  const refused = Effect.map(HttpServerRequest.HttpServerRequest, (request) =>
    toResponse(methodNotAllowed(request.method, request.url, allow))
  )
  const options = Effect.succeed(HttpServerResponse.empty({ status: 204, headers: { allow } }))
  const refusing = (["GET", "POST", "PUT", "PATCH", "DELETE"] as const).filter((other) => other !== method)
  return refusing.reduce(
    (router: HttpRouter.HttpRouter, other) => HttpRouter.route(other)(router, path, refused),
    HttpRouter.options(HttpRouter.empty, path, options)
  )
}
