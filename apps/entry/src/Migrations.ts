/** The steps that bring a database to the newest schema, run in order, each once and whole. Steps are never changed. */
import { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import { Effect } from "effect"

const apiKeys = Effect.gen(function* () {
  const sql = yield* SqlClient
  yield* sql`
    CREATE TABLE api_keys (
      hash TEXT PRIMARY KEY NOT NULL CHECK (length(hash) = 64),
      name TEXT NOT NULL UNIQUE,
      prefix TEXT NOT NULL,
      last4 TEXT NOT NULL,
      requests_per_minute INTEGER CHECK (requests_per_minute >= 1),
      tokens_per_minute INTEGER CHECK (tokens_per_minute >= 1),
      origin TEXT NOT NULL CHECK (origin IN ('command', 'environment')),
      created_at_ms INTEGER NOT NULL,
      revoked_at_ms INTEGER
    ) STRICT, WITHOUT ROWID`
})

/** Requests by hour, model and who answered them. */
const servedRequests = Effect.gen(function* () {
  const sql = yield* SqlClient
  yield* sql`
    CREATE TABLE served_requests (
      hour_ms INTEGER NOT NULL CHECK (hour_ms % 3600000 = 0),
      model TEXT NOT NULL,
      served_by TEXT NOT NULL CHECK (served_by IN ('mesh', 'fallback', 'refused')),
      requests INTEGER NOT NULL CHECK (requests >= 1),
      tokens INTEGER NOT NULL CHECK (tokens >= 0),
      PRIMARY KEY (hour_ms, model, served_by)
    ) STRICT, WITHOUT ROWID`
})

/** The steps by `number_name`. */
export const migrations: Readonly<Record<string, Effect.Effect<void, SqlError, SqlClient>>> = {
  "0001_api_keys": apiKeys,
  "0002_served_requests": servedRequests
}
