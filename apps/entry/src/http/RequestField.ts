/**
 * The fields that chat and text completions share, and how a body becomes typed: what a field may be is a schema, what
 * is wrong with one is an error that names it as the OpenAI API does.
 */
import { logitBiasMax, type Sampling, stopCharactersMax } from "@weft/engine/Generation"
import { Either, ParseResult, Schema } from "effect"
import { type ApiError, invalidRequest } from "../OpenAiError.ts"
import type { JsonObject } from "./RequestBody.ts"

/** Most stop strings of one request at the OpenAI API. */
const stopStringsMax = 4

/** Makes a schema of what `is` accepts; `expected` completes "expected …". Values are never shown, they may be huge. */
export const field = <T>(is: (value: unknown) => value is T, expected: string): Schema.Schema<T> =>
  Schema.declare(is, { message: (issue) => `expected ${expected}, but got ${kind(issue.actual)}` })

/**
 * Makes the schema of a field that may be left out or be null. Exact, as the schema of what is undefined would say of a
 * wrong value all that is in it.
 */
export const optional = <T>(
  is: (value: unknown) => value is T,
  expected: string
): Schema.optionalWith<Schema.Schema<T | null | undefined>, { exact: true }> =>
  Schema.optionalWith(
    field((value: unknown): value is T | null | undefined => isAbsent(value) || is(value), expected),
    { exact: true }
  )

/** Accepts text of at most `charactersMax` UTF-16 code units. */
export const isText =
  (charactersMax: number, charactersMin = 0) =>
  (value: unknown): value is string =>
    typeof value === "string" && value.length <= charactersMax && value.length >= charactersMin

/** Accepts arrays of at most `itemsMax` items of any kind; looks at none of them. */
export const isArrayOfAtMost =
  (itemsMax: number, itemsMin = 0) =>
  (value: unknown): value is ReadonlyArray<unknown> =>
    Array.isArray(value) && value.length <= itemsMax && value.length >= itemsMin

/** Accepts null and what is left out. */
export const isAbsent = (value: unknown): value is null | undefined => value === null || value === undefined

/** Accepts an array without items. */
export const isEmptyArray = (value: unknown): value is readonly [] => Array.isArray(value) && value.length === 0

/** Accepts some strings. */
export const isOneOf =
  <const Literals extends ReadonlyArray<string>>(...literals: Literals) =>
  (value: unknown): value is Literals[number] =>
    typeof value === "string" && literals.includes(value)

const isBetween =
  (minimum: number, maximum: number) =>
  (value: unknown): value is number =>
    typeof value === "number" && value >= minimum && value <= maximum

const isIntegerBetween =
  (minimum: number, maximum: number) =>
  (value: unknown): value is number =>
    isBetween(minimum, maximum)(value) && Number.isInteger(value)

const isStopString = isText(stopCharactersMax, 1)

const isStop = (value: unknown): value is string | ReadonlyArray<string> =>
  isStopString(value) || (isArrayOfAtMost(stopStringsMax)(value) && value.every(isStopString))

const isLogitBias = (value: unknown): value is Readonly<Record<string, number>> => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false
  let count = 0
  // `Object.entries` of a body that is full of them holds everybody up for half a second before they can be counted.
  for (const token in value) {
    if (++count > logitBiasMax || !isTokenId.test(token) || !isBias(Reflect.get(value, token))) return false
  }
  return true
}

const isTokenId = /^(0|[1-9]\d{0,9})$/
const isBias = isBetween(-100, 100)

const isBoolean = (value: unknown): value is boolean => typeof value === "boolean"

const isStreamOptions = (value: unknown): value is { readonly include_usage?: boolean | null } =>
  typeof value === "object" &&
  value !== null &&
  !Array.isArray(value) &&
  (!("include_usage" in value) || value.include_usage === null || isBoolean(value.include_usage))

const isModel = isText(256, 1)
/** Accepts a number of tokens that an answer may have. */
export const isCount = isIntegerBetween(1, Number.MAX_SAFE_INTEGER)
// 64-bit seeds of clients lose digits in JSON numbers; any integer does
const isSeed = (value: unknown): value is number => Number.isInteger(value)
const isTopK = isIntegerBetween(0, 1_000_000)
const isRepeatPenalty = isBetween(0.1, 2)
const [isTemperature, isShare, isPenalty] = [isBetween(0, 2), isBetween(0, 1), isBetween(-2, 2)]

/** The fields of every request for an answer. */
export const sharedFields = {
  model: field(isModel, "the id of a model (1 to 256 characters)"),
  stream: optional(isBoolean, "a boolean"),
  stream_options: optional(isStreamOptions, "an object with the boolean 'include_usage'"),
  max_tokens: optional(isCount, "an integer of at least 1"),
  stop: optional(isStop, `a string or up to ${stopStringsMax} strings of 1 to ${stopCharactersMax} characters`),
  seed: optional(isSeed, "an integer"),
  temperature: optional(isTemperature, "a number between 0 and 2"),
  top_p: optional(isShare, "a number between 0 and 1"),
  top_k: optional(isTopK, "an integer between 0 and 1000000"),
  min_p: optional(isShare, "a number between 0 and 1"),
  repeat_penalty: optional(isRepeatPenalty, "a number between 0.1 and 2"),
  frequency_penalty: optional(isPenalty, "a number between -2 and 2"),
  presence_penalty: optional(isPenalty, "a number between -2 and 2"),
  logit_bias: optional(isLogitBias, `an object of up to ${logitBiasMax} token ids with numbers between -100 and 100`)
} as const

/** Accepts what `sharedFields` accept, at a fraction of their cost. */
export const hasSharedFields = (body: JsonObject): boolean =>
  isModel(body["model"]) &&
  isAbsentOr(isBoolean, body["stream"]) &&
  isAbsentOr(isStreamOptions, body["stream_options"]) &&
  isAbsentOr(isCount, body["max_tokens"]) &&
  isAbsentOr(isStop, body["stop"]) &&
  isAbsentOr(isSeed, body["seed"]) &&
  isAbsentOr(isTemperature, body["temperature"]) &&
  isAbsentOr(isShare, body["top_p"]) &&
  isAbsentOr(isTopK, body["top_k"]) &&
  isAbsentOr(isShare, body["min_p"]) &&
  isAbsentOr(isRepeatPenalty, body["repeat_penalty"]) &&
  isAbsentOr(isPenalty, body["frequency_penalty"]) &&
  isAbsentOr(isPenalty, body["presence_penalty"]) &&
  isAbsentOr(isLogitBias, body["logit_bias"])

/** Accepts null, what is left out, and what `is` accepts. */
export const isAbsentOr = (is: (value: unknown) => boolean, value: unknown): boolean => isAbsent(value) || is(value)

const Shared = Schema.Struct(sharedFields)
/** Represents the fields of every request for an answer. */
export type Shared = typeof Shared.Type

/** Represents a field that is known, changes the meaning of a request, and is not supported. */
export interface Unsupported {
  /** Returns whether a value asks for nothing but what happens anyway. */
  readonly harmless: (value: unknown) => boolean
  /** Completes the error message: what to do instead. */
  readonly instead: string
}

/**
 * Decodes a body, or returns the error that names the first field at fault. The schema says what is wrong with a body;
 * bodies that `isPlain` accepts are not shown to it, as it would return them as they are.
 */
export const decode = <A, I>(
  schema: Schema.Schema<A, I>,
  unsupported: Readonly<Record<string, Unsupported>>,
  isPlain: (body: JsonObject) => body is JsonObject & A
): ((body: JsonObject) => Either.Either<A, ApiError>) => {
  const decodeBody = Schema.decodeUnknownEither(schema)
  const refused = Object.entries(unsupported)
  return (body) => {
    for (const [name, { harmless, instead }] of refused) {
      const value = body[name]
      if (!isAbsent(value) && !harmless(value)) {
        return Either.left(invalidRequest(`'${name}' is not supported here. ${instead}`, name, "unsupported_parameter"))
      }
    }
    return isPlain(body) ? Either.right(body) : Either.mapLeft(decodeBody(body), fromParseError)
  }
}

/** Returns the sampling of a request; what it leaves out gets the OpenAI API's default: any token may be drawn. */
export const toSampling = (fields: Shared): Sampling => ({
  temperature: fields.temperature ?? 1,
  topK: fields.top_k ?? 0,
  topP: fields.top_p ?? 1,
  minP: fields.min_p ?? 0,
  repeatPenalty: fields.repeat_penalty ?? 1,
  frequencyPenalty: fields.frequency_penalty ?? 0,
  presencePenalty: fields.presence_penalty ?? 0,
  logitBias: Object.entries(fields.logit_bias ?? {}).map(([token, bias]) => [Number(token), bias] as const),
  ...(typeof fields.seed === "number" ? { seed: toSeed(fields.seed) } : {})
})

/** Returns the stop strings of a request. */
export const toStop = (stop: Shared["stop"]): ReadonlyArray<string> =>
  isAbsent(stop) ? [] : typeof stop === "string" ? [stop] : stop

// internal

/** Folds any integer into the 32 bits a sampler takes; the same seed stays the same. */
const toSeed = (seed: number): number => ((seed % 2 ** 32) + 2 ** 32) % 2 ** 32

const kind = (value: unknown): string =>
  value === null
    ? "null"
    : Array.isArray(value)
      ? `an array of ${value.length}`
      : typeof value === "string"
        ? `a string of ${value.length} characters`
        : typeof value === "number"
          ? `the number ${value}`
          : typeof value === "object"
            ? "an object"
            : `a ${typeof value}`

/** Returns the error about the deepest field of a parse error: in a union, the branch that came furthest. */
const fromParseError = (error: ParseResult.ParseError): ApiError => {
  const issues = ParseResult.ArrayFormatter.formatErrorSync(error)
  const deepest = issues.reduce((best, issue) => (issue.path.length > best.path.length ? issue : best))
  const param = toParam(deepest.path)
  return deepest._tag === "Missing"
    ? invalidRequest(`Missing required parameter: '${param}'.`, param, "missing_required_parameter")
    : invalidRequest(`Invalid value for '${param}': ${deepest.message}.`, param)
}

const toParam = (path: ReadonlyArray<PropertyKey>): string =>
  path
    .map((part, index) => (typeof part === "number" ? `[${part}]` : `${index === 0 ? "" : "."}${String(part)}`))
    .join("")
