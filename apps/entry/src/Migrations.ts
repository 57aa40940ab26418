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

/** When a model was first served through the mesh, and what an hour of it measured. */
const milestones = Effect.gen(function* () {
  const sql = yield* SqlClient
  yield* sql`
    CREATE TABLE milestones (
      model TEXT NOT NULL,
      milestone TEXT NOT NULL CHECK (milestone IN ('mesh', 'split')),
      reached_at_ms INTEGER NOT NULL,
      PRIMARY KEY (model, milestone)
    ) STRICT, WITHOUT ROWID`
  yield* sql`
    CREATE TABLE measured_hours (
      hour_ms INTEGER NOT NULL CHECK (hour_ms % 3600000 = 0),
      model TEXT NOT NULL,
      mode TEXT NOT NULL CHECK (mode IN ('solo', 'split')),
      samples INTEGER NOT NULL CHECK (samples >= 1),
      ttft_ms REAL NOT NULL,
      tokens_per_second REAL,
      PRIMARY KEY (hour_ms, model, mode)
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

/** Labels that a key requires of the peers that answer it; none of the keys that are there already. */
const keyLabels = Effect.gen(function* () {
  const sql = yield* SqlClient
  yield* sql`ALTER TABLE api_keys ADD COLUMN region TEXT CHECK (length(region) BETWEEN 1 AND 32)`
  yield* sql`ALTER TABLE api_keys ADD COLUMN trust TEXT CHECK (length(trust) BETWEEN 1 AND 32)`
})

/** The steps by `number_name`. */
export const migrations: Readonly<Record<string, Effect.Effect<void, SqlError, SqlClient>>> = {
  "0001_api_keys": apiKeys,
  "0002_served_requests": servedRequests,
  "0003_key_labels": keyLabels,
  "0004_milestones": milestones
}
