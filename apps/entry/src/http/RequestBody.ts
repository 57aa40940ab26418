/** A request's body as JSON, within its depth; UTF-8 that is none is refused. */
import { Either } from "effect"
import { type ApiError, invalidRequest } from "../OpenAiError.ts"

/** Represents a decoded JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>

/** Returns what a request says of its body's length in bytes; undefined for one that comes in chunks. */
export const declaredBytes = (headers: Headers): number | undefined => {
  const declared = headers.get("content-length")
  if (declared !== null && Number.isInteger(Number(declared))) return Number(declared)
  return headers.has("transfer-encoding") ? undefined : 0
}

/** Returns the JSON object in `bytes`, or why it is none; the content type is not looked at. */
export const parse = (bytes: Uint8Array, depthMax: number): Either.Either<JsonObject, ApiError> => {
  if (bytes.length === 0) return Either.left(malformed("The request has no body. Send a JSON object."))
  if (!isShallow(bytes, depthMax)) {
    return Either.left(malformed(`The JSON of the request is nested deeper than ${depthMax} levels.`))
  }
  const text = Either.try({ try: () => utf8.decode(bytes), catch: () => malformed(noUtf8) })
  if (Either.isLeft(text)) return Either.left(text.left)
  const value = Either.try({ try: (): unknown => JSON.parse(text.right), catch: () => malformed(noJson) })
  if (Either.isLeft(value)) return Either.left(value.left)
  return isObject(value.right)
    ? Either.right(value.right)
    : Either.left(malformed("The JSON body of the request must be an object."))
}

/** Returns the error of a body that was cut. */
export const broken = (): ApiError => malformed("The request's body could not be read to its end. Send it again.")

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

const noUtf8 = "The request's body is not valid UTF-8."
const noJson = "We could not parse the JSON body of your request. Check that it is one valid JSON object."

/** Removes a byte order mark, as JSON.parse refuses it. */
const utf8 = new TextDecoder("utf-8", { fatal: true })

const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const malformed = (message: string): ApiError => invalidRequest(message, null, "invalid_json")
