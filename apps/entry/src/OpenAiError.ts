/**
 * Every refusal and failure of the HTTP door as the OpenAI API words it: one table from what went wrong to status,
 * `type` and `code`. Whatever fails becomes an `ApiError` here, and a response by `toBody` and `toHeaders`.
 */
import { HttpServerResponse } from "@effect/platform"
import type { GenerateFailure } from "@weft/engine/Generation"
import { Data } from "effect"
import type { NoAnswer } from "./Inference.ts"

/** Represents a request that is answered with an error object. */
export class ApiError extends Data.TaggedError("ApiError")<{
  readonly status: number
  readonly message: string
  readonly type: "invalid_request_error" | "requests" | "tokens" | "insufficient_quota" | "server_error"
  readonly code: string | null
  /** Path of the request's field at fault, e.g. `messages[2].content`. */
  readonly param: string | null
  /** When a retry makes sense; becomes `retry-after` (whole seconds, ≥ 1) and `retry-after-ms`. */
  readonly retryAfterMs?: number
  /** `false` tells clients that a retry can never succeed. */
  readonly shouldRetry?: false
  readonly headers?: Readonly<Record<string, string>>
}> {}

/** Returns a 400 about one field. */
export const invalidRequest = (
  message: string,
  param: string | null,
  code: string | null = "invalid_value"
): ApiError => new ApiError({ status: 400, type: "invalid_request_error", code, param, message })

/** Returns a 401; `message` says how to give a key. */
export const invalidApiKey = (message: string): ApiError =>
  new ApiError({
    status: 401,
    type: "invalid_request_error",
    code: "invalid_api_key",
    param: null,
    message,
    headers: { "www-authenticate": "Bearer" }
  })

/** Returns a 404 for a model nobody has served. */
export const modelNotFound = (model: string): ApiError =>
  new ApiError({
    status: 404,
    type: "invalid_request_error",
    code: "model_not_found",
    param: "model",
    message: `The model '${model}' does not exist. GET /v1/models lists the models that are served now.`
  })

/** Returns a 404 for an address without a route. */
export const unknownUrl = (method: string, path: string): ApiError =>
  new ApiError({
    status: 404,
    type: "invalid_request_error",
    code: "unknown_url",
    param: null,
    message: `Invalid URL (${method} ${path.slice(0, 256)})`
  })

/** Returns a 405; `allow` lists the methods of the address. */
export const methodNotAllowed = (method: string, path: string, allow: string): ApiError =>
  new ApiError({
    status: 405,
    type: "invalid_request_error",
    code: "method_not_supported",
    param: null,
    message: `Not allowed to ${method} on ${path.slice(0, 256)}. Use ${allow}.`,
    headers: { allow }
  })

/** Returns a 408 for a body that did not arrive in time; the connection is closed, as its rest is still to come. */
export const requestTimeout = (seconds: number): ApiError =>
  new ApiError({
    status: 408,
    type: "invalid_request_error",
    code: "request_timeout",
    param: null,
    message: `The request's body did not arrive within ${seconds} s. Send it again.`,
    headers: { connection: "close" }
  })

/** Returns a 413; the connection is closed, as the rest of the body is not read. */
export const bodyTooLarge = (bytesMax: number): ApiError =>
  new ApiError({
    status: 413,
    type: "invalid_request_error",
    code: "request_too_large",
    param: null,
    message: `The request's body is larger than ${bytesMax} bytes. Shorten the messages.`,
    headers: { connection: "close" }
  })

/** Returns a 429 for a key whose requests or tokens of this minute are used up. */
export const rateLimited = (unit: "requests" | "tokens", key: string, limit: number, retryAfterMs: number): ApiError =>
  new ApiError({
    status: 429,
    type: unit,
    code: "rate_limit_exceeded",
    param: null,
    message:
      `Rate limit reached for key '${key}': ${limit} ${unit} per minute. ` +
      `Try again in ${Math.ceil(retryAfterMs / 1000)} s.`,
    retryAfterMs
  })

/** Returns a 429 for a request that no waiting lets through: its prompt alone exceeds the key's tokens per minute. */
export const quotaTooSmall = (key: string, limit: number, needed: number): ApiError =>
  new ApiError({
    status: 429,
    type: "insufficient_quota",
    code: "insufficient_quota",
    param: null,
    message:
      `The request needs about ${needed} tokens, but key '${key}' may use ${limit} per minute. ` +
      "Shorten it, or ask for a higher limit.",
    shouldRetry: false
  })

/** Returns a 500 that tells nothing of its cause; the log has it under the request's id. */
export const internalError = (): ApiError =>
  new ApiError({
    status: 500,
    type: "server_error",
    code: "internal_error",
    param: null,
    message: "The server failed while it handled the request. Retry, and report the x-request-id if it stays."
  })

const unavailable = (status: 502 | 503 | 504, code: string, message: string, retryAfterMs?: number): ApiError =>
  new ApiError({
    status,
    type: "server_error",
    code,
    param: null,
    message,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs })
  })

/** Returns the 503 of an entry that is stopping. */
export const shuttingDown = (): ApiError =>
  unavailable(503, "shutting_down", "The server is restarting. Retry in a few seconds.", retryAfterMsDefault)

/** Returns the 503 of a status stream that has as many watchers as it may. */
export const tooManyWatchers = (): ApiError =>
  unavailable(503, "too_many_watchers", "As many watch as may. GET /api/status tells the same once.", 5_000)

/** Returns the 504 of an answer that took longer than the server waits for any. */
export const answerTimeout = (): ApiError =>
  unavailable(504, "answer_timeout", "The answer took too long and was cancelled. Ask for fewer tokens.")

/** Returns the 502 of an answer that the provider began and did not end. */
export const fallbackFailed = (): ApiError =>
  unavailable(502, "fallback_failed", "The provider that stands in for the mesh failed while it answered. Retry.")

/** Returns the error a client sees when no answer was begun. */
export const fromNoAnswer = (failure: NoAnswer): ApiError => {
  const retryAfterMs = (failure.retryAfterSeconds ?? retryAfterMsDefault / 1000) * 1000
  switch (failure.reason) {
    case "ModelNotFound":
      return modelNotFound(failure.model)
    case "NoPeer":
      return failure.label === undefined
        ? unavailable(503, "no_peer", `${failure.message} Retry later, or choose another model.`, retryAfterMs)
        : unavailable(503, "no_peer", `${failure.message} Retry later, or ask for another label.`, retryAfterMs)
    case "NotExact":
      // No 503: clients would send it again and again.
      return invalidRequest(`${failure.message} ${notExactCure}`, "x-weft-profile", "profile_unavailable")
    case "Overloaded":
      return unavailable(503, "overloaded", `${failure.message} Retry later, or choose another model.`, retryAfterMs)
  }
}

/**
 * Returns the error a client sees when an answer failed. The peer's own text is shown only where it is about the
 * request; of its insides only the kind is told.
 */
export const fromFailure = (failure: GenerateFailure, model: string): ApiError => {
  switch (failure.code) {
    case "context_length_exceeded":
      return invalidRequest(printable(failure.message), printable(failure.param ?? "messages"), failure.code)
    case "invalid_request":
      return invalidRequest(printable(failure.message), failure.param === undefined ? null : printable(failure.param))
    case "model_not_found":
      return modelNotFound(model)
    case "overloaded":
      return unavailable(503, "overloaded", `Every peer that serves '${model}' is busy. Retry.`, retryAfterMsDefault)
    case "shutting_down":
      return unavailable(503, "peer_leaving", "The peer left while it answered. Retry.", retryAfterMsDefault)
    // no request that a client waits for was taken back by us
    case "cancelled":
    case "engine_lost":
      return unavailable(502, "engine_lost", "The peer was lost while it answered. Retry.")
    case "internal":
      return unavailable(502, "peer_failed", "The peer failed while it answered. Retry.")
  }
}

/** Returns the error object as the body of a response or of one SSE event. */
export const toBody = ({ message, type, param, code }: ApiError): string =>
  JSON.stringify({ error: { message, type, param, code } })

/** Returns the headers that an error adds to its response, the content type aside. */
export const toHeaders = (error: ApiError): Readonly<Record<string, string>> => ({
  ...error.headers,
  ...(error.retryAfterMs === undefined
    ? {}
    : {
        "retry-after": String(Math.max(1, Math.ceil(error.retryAfterMs / 1000))),
        "retry-after-ms": String(Math.max(1, Math.ceil(error.retryAfterMs)))
      }),
  ...(error.shouldRetry === false ? { "x-should-retry": "false" } : {})
})

/** Returns the response for an error, for the router. */
export const toResponse = (error: ApiError): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(toBody(error), {
    status: error.status,
    contentType: "application/json",
    headers: toHeaders(error)
  })

// internal

const notExactCure =
  "Leave the header 'x-weft-profile: exact' out, choose another model, or have the entry's owner take the model's " +
  "architecture out of WEFT_SPLIT_ACTIVATIONS."

/** About as long as a peer takes to come back after its engine died. */
const retryAfterMsDefault = 2000

/** Replaces control characters, as a peer's text is not ours. */
const printable = (text: string): string => text.replaceAll(/\p{C}/gu, "\uFFFD").slice(0, 1024)
