/** A request's JSON body, read within its bounds: bytes, time and depth; UTF-8 that is none is refused. */
import { HttpServerRequest } from "@effect/platform"
import { Duration, Effect } from "effect"
import { readBody } from "../internal/ReadBody.ts"
import { type ApiError, bodyTooLarge, invalidRequest, requestTimeout } from "../OpenAiError.ts"
import { HttpLimits } from "./HttpLimits.ts"

/** Represents a decoded JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>

/** Reads the request's body as one JSON object; the content type is not looked at. */
export const json: Effect.Effect<JsonObject, ApiError, HttpServerRequest.HttpServerRequest> = Effect.gen(function* () {
  const limits = yield* HttpLimits
  const request = yield* HttpServerRequest.HttpServerRequest
  const { source } = request
  if (!(source instanceof Request)) return yield* Effect.dieMessage("the server's requests are not Bun's")
  const bytes = yield* Effect.promise(() =>
    readBody(source, declaredBytes(request), limits.bodyBytesMax, Duration.toMillis(limits.bodyDeadline))
  )
  if (bytes === "large") return yield* bodyTooLarge(limits.bodyBytesMax)
  if (bytes === "late") return yield* requestTimeout(Duration.toSeconds(limits.bodyDeadline))
  if (bytes === "broken") return yield* malformed("The request's body could not be read to its end. Send it again.")
  return yield* parse(bytes, limits.jsonDepthMax)
})

/** Returns the JSON object in `bytes`, or why it is none. */
export const parse = (bytes: Uint8Array, depthMax: number): Effect.Effect<JsonObject, ApiError> =>
  Effect.gen(function* () {
    if (bytes.length === 0) return yield* malformed("The request has no body. Send a JSON object.")
    if (!isShallow(bytes, depthMax)) {
      return yield* malformed(`The JSON of the request is nested deeper than ${depthMax} levels.`)
    }
    const text = yield* Effect.try({
      try: () => utf8.decode(bytes),
      catch: () => malformed("The request's body is not valid UTF-8.")
    })
    const value = yield* Effect.try({
      try: (): unknown => JSON.parse(text),
      catch: () =>
        malformed("We could not parse the JSON body of your request. Check that it is one valid JSON object.")
    })
    if (!isObject(value)) return yield* malformed("The JSON body of the request must be an object.")
    return value
  })

/** Returns whether the arrays and objects of JSON nest at most `depthMax` deep; bytes that are no JSON may pass. */
export const isShallow = (bytes: Uint8Array, depthMax: number): boolean => {
  let depth = 0
  let quoted = false
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]
    if (quoted) {
      if (byte === backslash) at++
      else if (byte === quote) quoted = false
    } else if (byte === quote) quoted = true
    else if (byte === openBracket || byte === openBrace) {
      if (++depth > depthMax) return false
    } else if (byte === closeBracket || byte === closeBrace) depth--
  }
  return true
}

// internal

const [quote, backslash, openBracket, closeBracket, openBrace, closeBrace] = [0x22, 0x5c, 0x5b, 0x5d, 0x7b, 0x7d]

/** Removes a byte order mark, as JSON.parse refuses it. */
const utf8 = new TextDecoder("utf-8", { fatal: true })

const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const malformed = (message: string): ApiError => invalidRequest(message, null, "invalid_json")

/** Returns what a request says of its body's length; undefined for one that comes in chunks. */
const declaredBytes = ({ headers }: HttpServerRequest.HttpServerRequest): number | undefined => {
  const declared = Number(headers["content-length"])
  if (Number.isInteger(declared)) return declared
  return headers["transfer-encoding"] === undefined ? 0 : undefined
}
