/** The keys in the database. The `keys` commands write here, a running entry notices within a second. */
import { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import { Clock, Context, Data, Effect, Layer, type ParseResult, Schema } from "effect"
import { ApiKey, keysMax } from "./ApiKeys.ts"

/** Represents a key with its history. */
export const StoredKey = Schema.Struct({
  ...ApiKey.fields,
  /** Made by `keys create`, or listed in `WEFT_API_KEYS`. */
  origin: Schema.Literal("command", "environment"),
  createdAtMs: Schema.Int,
  /** From then on the key is refused. */
  revokedAtMs: Schema.NullOr(Schema.Int)
})
export type StoredKey = typeof StoredKey.Type

/** Represents keys that cannot be read or written. */
export class ApiKeyStoreError extends Data.TaggedError("ApiKeyStoreError")<{
  readonly reason: "NameTaken" | "NoSuchName" | "TooMany" | "Database"
  readonly name: string
  readonly cause?: unknown
}> {
  override get message(): string {
    switch (this.reason) {
      case "NameTaken":
        return `A key named '${this.name}', or with its secret, exists already. Choose another name.`
      case "NoSuchName":
        return `No valid key is named '${this.name}'. 'bun run entry keys list' shows all.`
      case "TooMany":
        return `There are ${keysMax} keys, more are not kept. Revoked ones can be removed from the table api_keys.`
      case "Database":
        return "The keys could not be read or written. Check the disk and WEFT_DATA_DIR."
    }
  }
}

/** Keeps the keys. */
export class ApiKeyStore extends Context.Tag("@weft/entry/ApiKeyStore")<
  ApiKeyStore,
  {
    /** Every key, revoked ones too, by name. */
    readonly list: Effect.Effect<ReadonlyArray<StoredKey>, ApiKeyStoreError>
    readonly create: (key: ApiKey) => Effect.Effect<StoredKey, ApiKeyStoreError>
    /** Refuses a key from now on; keys of the environment are taken from `WEFT_API_KEYS` instead. */
    readonly revoke: (name: string) => Effect.Effect<void, ApiKeyStoreError>
    /** Makes the environment's keys exactly `keys`. */
    readonly syncEnvironment: (keys: ReadonlyArray<ApiKey>) => Effect.Effect<void, ApiKeyStoreError>
    /** A number that changes when another process writes. */
    readonly version: Effect.Effect<number, ApiKeyStoreError>
  }
>() {
  static readonly layer: Layer.Layer<ApiKeyStore, never, SqlClient> = Layer.effect(
    ApiKeyStore,
    Effect.suspend(() => make)
  )
}

const decodeRows = Schema.decodeUnknown(Schema.Array(StoredKey))
const decodeNumbers = Schema.decodeUnknown(Schema.NonEmptyArray(Schema.Struct({ value: Schema.Int })))

const make = Effect.gen(function* () {
  const sql = yield* SqlClient

  const list = Effect.gen(function* () {
    const rows = yield* sql`
      SELECT name, hash, prefix, last4, requests_per_minute AS requestsPerMinute, tokens_per_minute AS tokensPerMinute,
        region, trust, origin, created_at_ms AS createdAtMs, revoked_at_ms AS revokedAtMs
      FROM api_keys ORDER BY name LIMIT ${keysMax}`
    return yield* decodeRows(rows)
  }).pipe(Effect.mapError(asStoreError("")))

  const insert = (key: ApiKey, origin: StoredKey["origin"], nowMs: number) =>
    Effect.gen(function* () {
      const [{ value }] = yield* Effect.flatMap(sql`SELECT count(*) AS value FROM api_keys`, decodeNumbers)
      if (value >= keysMax) return yield* new ApiKeyStoreError({ reason: "TooMany", name: key.name })
      yield* sql`INSERT INTO api_keys ${sql.insert({
        hash: key.hash,
        name: key.name,
        prefix: key.prefix,
        last4: key.last4,
        requests_per_minute: key.requestsPerMinute,
        tokens_per_minute: key.tokensPerMinute,
        region: key.region,
        trust: key.trust,
        origin,
        created_at_ms: nowMs
      })}`
      return { ...key, origin, createdAtMs: nowMs, revokedAtMs: null }
    }).pipe(Effect.mapError(asStoreError(key.name)))

  return ApiKeyStore.of({
    list,
    create: (key) =>
      Effect.flatMap(Clock.currentTimeMillis, (nowMs) => insert(key, "command", nowMs)).pipe(
        sql.withTransaction,
        Effect.mapError(asStoreError(key.name))
      ),
    revoke: (name) =>
      Effect.gen(function* () {
        const nowMs = yield* Clock.currentTimeMillis
        const revoked = yield* sql`
          UPDATE api_keys SET revoked_at_ms = ${nowMs}
          WHERE name = ${name} AND origin = 'command' AND revoked_at_ms IS NULL RETURNING name`
        if (revoked.length === 0) return yield* new ApiKeyStoreError({ reason: "NoSuchName", name })
      }).pipe(Effect.mapError(asStoreError(name))),
    syncEnvironment: (keys) =>
      Effect.gen(function* () {
        const nowMs = yield* Clock.currentTimeMillis
        yield* sql`DELETE FROM api_keys WHERE origin = 'environment'`
        yield* Effect.forEach(keys, (key) => insert(key, "environment", nowMs), { discard: true })
      }).pipe(sql.withTransaction, Effect.mapError(asStoreError(""))),
    version: Effect.flatMap(sql`SELECT data_version AS value FROM pragma_data_version`, decodeNumbers).pipe(
      Effect.map(([{ value }]) => value),
      Effect.mapError(asStoreError(""))
    )
  })
})

// internal

const asStoreError =
  (name: string) =>
  (error: ApiKeyStoreError | SqlError | ParseResult.ParseError): ApiKeyStoreError => {
    if (error._tag === "ApiKeyStoreError") return error
    const reason = error._tag === "SqlError" && /UNIQUE/.test(String(error.cause)) ? "NameTaken" : "Database"
    return new ApiKeyStoreError({ reason, name, cause: error })
  }
