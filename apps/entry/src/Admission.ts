/**
 * Who may ask, and how much: finds the key of a request in memory and takes from its requests and tokens of the minute.
 * Owns the map of hashes, read again when another process changed the keys, and one pair of buckets per key.
 */
import { type Labels, none as noLabels } from "@weft/mesh/Labels"
import { Context, Data, Effect, Either, Layer, Option, Schedule } from "effect"
import { ApiKeyStore, type ApiKeyStoreError, type StoredKey } from "./ApiKeyStore.ts"
import { hashOf, isSameHash, labelsOf, presented } from "./ApiKeys.ts"
import { EntryConfig, isLoopback } from "./EntryConfig.ts"
import { type ApiError, invalidApiKey, quotaTooSmall, rateLimited } from "./OpenAiError.ts"
import * as RateLimit from "./RateLimit.ts"

/** Represents an entry that would serve everybody on a network. */
export class OpenDoorError extends Data.TaggedError("OpenDoorError")<{ readonly host: string }> {
  override get message(): string {
    return (
      `WEFT_HTTP_HOST is ${this.host}, which others can reach, and there is no API key. ` +
      "Set WEFT_API_KEYS=name:secret, make a key with 'bun run entry keys create NAME', or listen on 127.0.0.1."
    )
  }
}

/** Represents tokens that were taken in advance. */
export interface Grant {
  /** Replaces the estimate by what was used; calls after the first do nothing. */
  readonly settle: (tokensUsed: number) => void
}

/** Represents who sent a request. */
export interface Caller {
  /** Name of the key, `anonymous` where none is needed. */
  readonly name: string
  /** Labels that the key requires of the peers that answer it. */
  readonly labels: Labels
  /** Takes tokens for a prompt and its answer; an answer's estimate is cut to what the key can ever have. */
  readonly takeTokens: (prompt: number, answer: number) => Either.Either<Grant, ApiError>
}

/** Lets requests in. */
export class Admission extends Context.Tag("@weft/entry/Admission")<
  Admission,
  {
    /** Finds the caller by its `Authorization` header, takes one request, and notes how its limits stand. */
    readonly admit: (authorization: string | undefined, standing: RateLimit.Standing) => Either.Either<Caller, ApiError>
  }
>() {
  static readonly layer: Layer.Layer<Admission, OpenDoorError | ApiKeyStoreError, ApiKeyStore | EntryConfig> =
    Layer.scoped(
      Admission,
      Effect.suspend(() => make)
    )
}

const make = Effect.gen(function* () {
  const config = yield* EntryConfig
  const store = yield* ApiKeyStore
  yield* store.syncEnvironment(config.apiKeys)
  const version = yield* store.version
  const known = { byHash: byHash(yield* store.list), version }
  const clock = yield* Effect.clock
  const now = (): number => clock.unsafeCurrentTimeMillis()
  const mayBeOpen = isLoopback(config.httpHost)
  if (known.byHash.size === 0 && !mayBeOpen) return yield* new OpenDoorError({ host: config.httpHost })
  const refresh = Effect.gen(function* () {
    const version = yield* store.version
    if (version === known.version) return
    known.byHash = byHash(yield* store.list)
    known.version = version
  }).pipe(Effect.catchAll((error) => Effect.logError("The keys could not be read again; the known ones hold.", error)))
  yield* Effect.forkScoped(Effect.repeat(refresh, Schedule.spaced(refreshEvery)))

  const allowances = new Map<string, Allowance>()
  const allowanceOf = (key: StoredKey | undefined, nowMs: number): Allowance => {
    const id = key?.hash ?? anonymous
    const found = allowances.get(id)
    if (found !== undefined) return found
    const made: Allowance = {
      name: key?.name ?? anonymous,
      labels: key === undefined ? noLabels : labelsOf(key),
      requests: bucketOf(key?.requestsPerMinute ?? Option.getOrNull(config.requestsPerMinute), nowMs),
      tokens: bucketOf(key?.tokensPerMinute ?? Option.getOrNull(config.tokensPerMinute), nowMs)
    }
    allowances.set(id, made)
    return made
  }

  return Admission.of({
    admit: (authorization, standing) => {
      const key = authenticate(known.byHash, mayBeOpen, authorization)
      if (Either.isLeft(key)) return Either.left(key.left)
      const nowMs = now()
      const allowance = allowanceOf(key.right, nowMs)
      const refusal = takeFrom(allowance, "requests", 1, nowMs, standing)
      if (refusal !== undefined) return Either.left(refusal)
      if (allowance.tokens !== undefined) standing.tokens = RateLimit.take(allowance.tokens, 0, nowMs)
      const { labels, name } = allowance
      return Either.right({ name, labels, takeTokens: takeTokens(allowance, standing, now) })
    }
  })
})

// internal

/** Time in which a key that was made or revoked beside the running entry takes effect. */
const refreshEvery = "1 second"

const anonymous = "anonymous"

/** What one key may still use; changed in place, by this module alone. */
interface Allowance {
  readonly name: string
  readonly labels: Labels
  requests: RateLimit.Bucket | undefined
  tokens: RateLimit.Bucket | undefined
}

const byHash = (keys: ReadonlyArray<StoredKey>): ReadonlyMap<string, StoredKey> =>
  new Map(keys.map((key) => [key.hash, key]))

const bucketOf = (perMinute: number | null, nowMs: number): RateLimit.Bucket | undefined =>
  perMinute === null ? undefined : RateLimit.make(perMinute, nowMs)

/** Returns the key of a request, undefined where the entry is open: on loopback, while no key was ever made. */
const authenticate = (
  keys: ReadonlyMap<string, StoredKey>,
  mayBeOpen: boolean,
  authorization: string | undefined
): Either.Either<StoredKey | undefined, ApiError> => {
  if (keys.size === 0 && mayBeOpen) return Either.right(undefined)
  const secret = presented(authorization)
  if (secret === undefined) {
    return Either.left(invalidApiKey("You didn't provide an API key. Send it as 'Authorization: Bearer YOUR_KEY'."))
  }
  const hash = hashOf(secret)
  const key = keys.get(hash)
  return key === undefined || !isSameHash(key.hash, hash) || key.revokedAtMs !== null
    ? Either.left(invalidApiKey("Incorrect API key provided. Ask the operator of this server for a valid one."))
    : Either.right(key)
}

/** Takes from one bucket and notes how it stands; returns the refusal where there is not enough. */
const takeFrom = (
  allowance: Allowance,
  unit: "requests" | "tokens",
  cost: number,
  nowMs: number,
  standing: RateLimit.Standing
): ApiError | undefined => {
  const bucket = allowance[unit]
  if (bucket === undefined) return undefined
  const decision = RateLimit.take(bucket, cost, nowMs)
  allowance[unit] = decision.bucket
  standing[unit] = decision
  return decision.granted ? undefined : rateLimited(unit, allowance.name, bucket.perMinute, decision.retryAfterMs)
}

const takeTokens =
  (allowance: Allowance, standing: RateLimit.Standing, now: () => number): Caller["takeTokens"] =>
  (prompt, answer) => {
    const bucket = allowance.tokens
    if (bucket === undefined) return unlimited
    if (prompt > bucket.perMinute) return Either.left(quotaTooSmall(allowance.name, bucket.perMinute, prompt))
    const taken = Math.min(prompt + answer, bucket.perMinute)
    const refusal = takeFrom(allowance, "tokens", taken, now(), standing)
    if (refusal !== undefined) return Either.left(refusal)
    let open = true
    return Either.right({
      settle: (tokensUsed) => {
        if (!open || allowance.tokens === undefined) return
        open = false
        allowance.tokens = RateLimit.settle(allowance.tokens, taken, tokensUsed, now())
      }
    })
  }

const unlimited: Either.Either<Grant> = Either.right({ settle: () => undefined })
