/** A database of an earlier version is brought up to date with what is in it. */

import { Database as Sqlite } from "bun:sqlite"
import { expect } from "bun:test"
import { BunContext } from "@effect/platform-bun"
import { ApiKeyStore } from "@weft/entry/ApiKeyStore"
import { hashOf } from "@weft/entry/ApiKeys"
import * as Database from "@weft/entry/Database"
import { EntryConfig } from "@weft/entry/EntryConfig"
import { Effect, Layer } from "effect"
import { it } from "../support/effect.ts"
import { folder } from "./support.ts"

/** Writes the database that an entry of the first schema left, with one key. */
const writeFirst = (path: string) =>
  Effect.sync(() => {
    const database = new Sqlite(path)
    database.run(`CREATE TABLE effect_sql_migrations (
      migration_id INTEGER PRIMARY KEY NOT NULL, created_at DATETIME NOT NULL DEFAULT current_timestamp,
      name TEXT NOT NULL)`)
    database.run("INSERT INTO effect_sql_migrations (migration_id, name) VALUES (1, 'api_keys')")
    database.run(`CREATE TABLE api_keys (
      hash TEXT PRIMARY KEY NOT NULL CHECK (length(hash) = 64), name TEXT NOT NULL UNIQUE, prefix TEXT NOT NULL,
      last4 TEXT NOT NULL, requests_per_minute INTEGER, tokens_per_minute INTEGER, origin TEXT NOT NULL,
      created_at_ms INTEGER NOT NULL, revoked_at_ms INTEGER) STRICT, WITHOUT ROWID`)
    database.run("INSERT INTO api_keys VALUES (?, 'ann', 'weft-abc', 'wxyz', 60, NULL, 'command', 1, NULL)", [
      hashOf("secret")
    ])
    database.close()
  })

it.live("a key of the first schema is there afterwards, and requires nothing of its peers", () =>
  Effect.gen(function* () {
    const databasePath = `${yield* folder}/entry.sqlite`
    yield* writeFirst(databasePath)
    const database = Layer.provide(Database.layer, EntryConfig.layer({ databasePath }))
    const keys = yield* Effect.flatMap(ApiKeyStore, ({ list }) => list).pipe(
      Effect.provide(Layer.provide(ApiKeyStore.layer, database)),
      Effect.provide(BunContext.layer)
    )
    expect(keys).toMatchObject([{ name: "ann", requestsPerMinute: 60, region: null, trust: null }])
  })
)
