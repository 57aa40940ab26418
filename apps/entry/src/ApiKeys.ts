/**
 * API keys without their storage: how one looks, what is kept of it, and how `WEFT_API_KEYS` lists them. A secret is
 * seen when it is made or presented and nowhere else; only its SHA-256 is kept.
 */
import { hash, randomBytes, timingSafeEqual } from "node:crypto"
import { Label, type Labels } from "@weft/mesh/Labels"
import { Data, Either, Schema } from "effect"

/** Most keys of one entry; all of their hashes are in memory. */
export const keysMax = 10_000

/** Name of a key: what operators call its holder. */
export const ApiKeyName = Schema.String.pipe(Schema.pattern(/^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/))

const PerMinute = Schema.Int.pipe(Schema.between(1, 1_000_000_000))

/** Represents what is kept of a key. */
export const ApiKey = Schema.Struct({
  name: ApiKeyName,
  /** SHA-256 of the secret, lower-case hexadecimal. */
  hash: Schema.String.pipe(Schema.pattern(/^[0-9a-f]{64}$/)),
  /** First and last characters of the secret, so that a holder recognises it; empty where only the hash was given. */
  prefix: Schema.String.pipe(Schema.maxLength(8)),
  last4: Schema.String.pipe(Schema.maxLength(4)),
  /** Absent: the entry's default. */
  requestsPerMinute: Schema.NullOr(PerMinute),
  tokensPerMinute: Schema.NullOr(PerMinute),
  /** Labels that every peer must carry which answers this key; null: any will do. */
  region: Schema.NullOr(Label),
  trust: Schema.NullOr(Label)
})
export type ApiKey = typeof ApiKey.Type

/** Represents what a key allows and requires. */
export type ApiKeyTerms = Pick<ApiKey, "requestsPerMinute" | "tokensPerMinute" | "region" | "trust">

/** Returns the labels that a key requires. */
export const labelsOf = ({ region, trust }: Pick<ApiKey, "region" | "trust">): Labels => ({
  ...(region === null ? {} : { region }),
  ...(trust === null ? {} : { trust })
})

/** Represents an entry of `WEFT_API_KEYS` that is none; never shows a secret. */
export class ApiKeyListError extends Data.TaggedError("ApiKeyListError")<{
  /** Place in the list, from 1. */
  readonly place: number
  readonly reason: string
}> {
  override get message(): string {
    const form = "name:secret[:requestsPerMinute[:tokensPerMinute]][:region=LABEL][:trust=LABEL], separated by commas"
    return `WEFT_API_KEYS, key ${this.place}: ${this.reason}. Write ${form}; a secret may be sha256:HEX.`
  }
}

/** Makes a secret of 256 random bits: `weft-` and 43 characters of base64url. */
export const makeSecret = (): string => `${secretPrefix}${randomBytes(32).toString("base64url")}`

/** Returns the SHA-256 of a secret, lower-case hexadecimal. */
export const hashOf = (secret: string): string => hash("sha256", secret, "hex")

/** Returns what is kept of a secret. */
export const fromSecret = (name: string, secret: string, terms: ApiKeyTerms): ApiKey => ({
  name,
  hash: hashOf(secret),
  prefix: secret.slice(0, 8),
  last4: secret.slice(-4),
  ...terms
})

/** Returns whether two hashes are equal, in a time that tells nothing of where they differ. */
export const isSameHash = (left: string, right: string): boolean =>
  left.length === right.length && timingSafeEqual(Buffer.from(left), Buffer.from(right))

/** Returns the secret of an `Authorization` header, undefined where there is none; the scheme may be any case. */
export const presented = (authorization: string | undefined): string | undefined =>
  authorization?.match(/^\s*bearer\s+(\S+)\s*$/i)?.[1]

/** Returns the keys of a list `name:secret[:requestsPerMinute[:tokensPerMinute]][:region=LABEL][:trust=LABEL],…`. */
export const parseList = (list: string): Either.Either<ReadonlyArray<ApiKey>, ApiKeyListError> => {
  const entries = list.split(",").map((entry) => entry.trim())
  if (entries.length > keysMax) return Either.left(new ApiKeyListError({ place: keysMax + 1, reason: "too many keys" }))
  const keys: Array<ApiKey> = []
  for (const [index, entry] of entries.entries()) {
    if (entry === "") continue
    const key = parseEntry(entry)
    if (typeof key === "string") return Either.left(new ApiKeyListError({ place: index + 1, reason: key }))
    if (keys.some(({ name, hash }) => name === key.name || hash === key.hash)) {
      return Either.left(new ApiKeyListError({ place: index + 1, reason: "its name or secret is there twice" }))
    }
    keys.push(key)
  }
  return Either.right(keys)
}

// internal

const secretPrefix = "weft-"

/** Shortest secret that a list may hold: 16 characters of base64 are 96 bits. */
const secretCharactersMin = 16

const isName = Schema.is(ApiKeyName)
const isPerMinute = Schema.is(PerMinute)
const isLabel = Schema.is(Label)

/** Returns the key of one entry, or what is wrong with it. */
const parseEntry = (entry: string): ApiKey | string => {
  const fields = entry.match(/^([^:]*):(sha256:[^:]*|[^:]*)(?::([^:=]*))?(?::([^:=]*))?((?::[^:=]*=[^:=]*)*)$/)
  if (fields === null) return "it does not have the form of a key"
  const [, name = "", secret = "", requests, tokens, required = ""] = fields
  if (!isName(name)) return "its name is not 1 to 64 letters, digits, dots, dashes, underscores or @"
  const [requestsPerMinute, tokensPerMinute] = [toPerMinute(requests), toPerMinute(tokens)]
  if (requestsPerMinute === undefined || tokensPerMinute === undefined)
    return "a limit is not a whole number of at least 1"
  const labels = toLabels(required)
  if (labels === undefined) return "what it requires is not one region and one trust, each 1 to 32 of a-z, 0-9 and -"
  const terms = { requestsPerMinute, tokensPerMinute, ...labels }
  if (secret.startsWith("sha256:")) {
    const hash = secret.slice("sha256:".length).toLowerCase()
    return /^[0-9a-f]{64}$/.test(hash)
      ? { name, hash, prefix: "", last4: "", ...terms }
      : "its sha256 is not 64 hexadecimal digits"
  }
  if (secret.length >= secretCharactersMin && !/\s/.test(secret)) return fromSecret(name, secret, terms)
  const wrong = `its secret is shorter than ${secretCharactersMin} characters or has spaces`
  return `${wrong}; 'bun run entry keys create' makes one`
}

/** Returns null for a limit that is left out, undefined for one that is none. */
const toPerMinute = (text: string | undefined): number | null | undefined => {
  if (text === undefined || text === "") return null
  const value = Number(text)
  return isPerMinute(value) ? value : undefined
}

/** Returns what `:region=LABEL:trust=LABEL` requires, in any order; undefined where it is something else. */
const toLabels = (text: string): Pick<ApiKey, "region" | "trust"> | undefined => {
  const labels: { region: string | null; trust: string | null } = { region: null, trust: null }
  for (const [, name, label] of text.matchAll(/:([^=]*)=([^:]*)/g)) {
    if ((name !== "region" && name !== "trust") || labels[name] !== null || !isLabel(label)) return undefined
    labels[name] = label
  }
  return labels
}
