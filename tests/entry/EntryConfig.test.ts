/**
 * The entry's settings and its database: defaults, every name of the environment, and what is refused with what to do.
 */
import { expect } from "bun:test"
import { BunContext } from "@effect/platform-bun"
import { SqlClient } from "@effect/sql/SqlClient"
import * as Database from "@weft/entry/Database"
import { EntryConfig } from "@weft/entry/EntryConfig"
import { migrations } from "@weft/entry/Migrations"
import { tierOf } from "@weft/entry/sla/Tier"
import { ConfigProvider, Effect, Exit, Layer, Option, Redacted } from "effect"
import { it } from "../support/effect.ts"
import { folder } from "./support.ts"

const read = (env: Record<string, string>) =>
  Effect.provide(EntryConfig, EntryConfig.layerFromEnv).pipe(
    Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(env)), { pathDelim: "_" }))
  )

it.effect("an empty environment gives the defaults", () =>
  Effect.gen(function* () {
    expect(yield* read({})).toEqual(EntryConfig.defaults)
  })
)

it.effect("every name of the environment is read", () =>
  Effect.gen(function* () {
    const config = yield* read({
      WEFT_HTTP_HOST: "0.0.0.0",
      WEFT_HTTP_PORT: "0",
      WEFT_MESH_HOST: "192.0.2.1",
      WEFT_MESH_PORT: "9000",
      WEFT_DATA_DIR: "/data",
      WEFT_API_KEYS: "ann:a-secret-of-20-chars:7",
      WEFT_ADMIN_TOKEN: "token",
      WEFT_REQUESTS_PER_MINUTE: "5",
      WEFT_TOKENS_PER_MINUTE: "6",
      WEFT_SPLIT_ACTIVATIONS: "llama:f16, qwen3:q8"
    })
    expect(config).toMatchObject({
      httpHost: "0.0.0.0",
      httpPort: 0,
      meshHost: "192.0.2.1",
      meshPort: 9000,
      dataDir: "/data",
      databasePath: "/data/entry.sqlite"
    })
    expect(config.apiKeys.map(({ name, requestsPerMinute }) => [name, requestsPerMinute])).toEqual([["ann", 7]])
    expect(Option.map(config.adminToken, Redacted.value)).toEqual(Option.some("token"))
    expect([config.requestsPerMinute, config.tokensPerMinute]).toEqual([Option.some(5), Option.some(6)])
    expect([...config.splitActivations]).toEqual([
      ["llama", "f16"],
      ["qwen3", "q8"]
    ])
    for (const url of ["sqlite:/x/y.db", "sqlite:///x/y.db"]) {
      expect((yield* read({ WEFT_DATABASE_URL: url })).databasePath).toBe("/x/y.db")
    }
    expect((yield* read({ WEFT_DATABASE_URL: "sqlite:here.db" })).databasePath).toBe("here.db")
  })
)

it.effect("tiers and the provider are read; without a key, or an address, there is no provider", () =>
  Effect.gen(function* () {
    const provider = {
      WEFT_FALLBACK_URL: "https://api.example.com/v1/",
      WEFT_FALLBACK_KEY: "secret",
      WEFT_FALLBACK_MODELS: "big=gpt-big, small = gpt-small,*",
      WEFT_FALLBACK_TIERS: "capacity",
      WEFT_FALLBACK_PER_IP_HOUR: "3",
      WEFT_TRUSTED_PROXY: "1",
      WEFT_TIERS: "capacity=big|huge*, daily-driver=*"
    }
    const { fallback, tiers, trustedProxy } = yield* read(provider)
    const config = Option.getOrThrow(fallback)
    expect(config).toMatchObject({ url: "https://api.example.com/v1", hasAllModels: true, perAddressHour: 3 })
    expect(Redacted.value(config.key)).toBe("secret")
    expect(String(config.key)).not.toContain("secret")
    expect([...config.models]).toEqual([
      ["big", "gpt-big"],
      ["small", "gpt-small"]
    ])
    expect([...config.tiers]).toEqual(["capacity"])
    expect(trustedProxy).toBe(true)
    expect(["big", "HUGE_one", "other"].map((model) => tierOf(tiers, model))).toEqual([
      "capacity",
      "capacity",
      "daily-driver"
    ])
    const { WEFT_FALLBACK_KEY: _, ...keyless } = provider
    const { WEFT_FALLBACK_URL: __, ...placeless } = provider
    for (const env of [keyless, placeless]) expect((yield* read(env)).fallback).toEqual(Option.none())
    const plain = { WEFT_FALLBACK_URL: "http://10.0.0.1:8000/v1", WEFT_FALLBACK_KEY: "k" }
    expect(Option.getOrThrow((yield* read(plain)).fallback)).toMatchObject({
      models: new Map(),
      hasAllModels: false,
      tiers: new Set(["daily-driver", "capacity"]),
      perAddressHour: 20
    })
  })
)

it.effect("what makes no sense is refused by its name", () =>
  Effect.gen(function* () {
    const wrong = [
      ["WEFT_HTTP_PORT", "http"],
      ["WEFT_HTTP_PORT", "65536"],
      ["WEFT_MESH_PORT", "-1"],
      ["WEFT_DATABASE_URL", "postgres://u:p@h/db"],
      ["WEFT_DATABASE_URL", "/just/a/path"],
      ["WEFT_API_KEYS", "ann"],
      ["WEFT_REQUESTS_PER_MINUTE", "0"],
      ["WEFT_TOKENS_PER_MINUTE", "many"],
      ["WEFT_SPLIT_ACTIVATIONS", "llama:f8"],
      ["WEFT_TIERS", "fast=*"],
      ["WEFT_TIERS", "capacity"],
      ["WEFT_TIERS", "capacity=a||b"],
      ["WEFT_TIERS", `capacity=${"x".repeat(129)}`],
      ["WEFT_TIERS", `capacity=${"x|".repeat(64)}x`],
      ["WEFT_FALLBACK_URL", "api.example.com"],
      ["WEFT_FALLBACK_URL", "file:///etc/passwd"],
      ["WEFT_FALLBACK_URL", "https://u:p@h/v1"],
      ["WEFT_FALLBACK_MODELS", "a=b=c"],
      ["WEFT_FALLBACK_MODELS", "=b"],
      ["WEFT_FALLBACK_TIERS", "cheap"],
      ["WEFT_FALLBACK_PER_IP_HOUR", "-1"],
      ["WEFT_TRUSTED_PROXY", "maybe"]
    ] as const
    for (const [name, value] of wrong) {
      const error = String(yield* Effect.flip(read({ [name]: value })))
      expect([value, error]).toEqual([value, expect.stringContaining(name.slice("WEFT_".length).split("_")[0] ?? "")])
      expect(error).not.toContain("u:p@h")
    }
    expect(String(yield* Effect.flip(read({ WEFT_DATABASE_URL: "postgres://h/db" })))).toContain("sqlite:PATH")
  })
)

const start = (databasePath: string, layer = Database.layer) =>
  Layer.build(layer.pipe(Layer.provide(EntryConfig.layer({ databasePath })), Layer.provide(BunContext.layer)))

it.live("the database is made in a new folder, durable, and opens again with what it held", () =>
  Effect.gen(function* () {
    const path = `${yield* folder}/new/deep/entry.sqlite`
    for (const round of [1, 2]) {
      yield* Effect.scoped(
        Effect.flatMap(start(path), (context) =>
          Effect.gen(function* () {
            const sql = yield* SqlClient
            expect(yield* sql`SELECT count(*) AS count FROM effect_sql_migrations`).toEqual([
              { count: Object.keys(migrations).length }
            ])
            expect(yield* sql`PRAGMA journal_mode`).toEqual([{ journal_mode: "wal" }])
            expect(yield* sql`PRAGMA synchronous`).toEqual([{ synchronous: 2 }])
            expect(yield* sql`PRAGMA foreign_keys`).toEqual([{ foreign_keys: 1 }])
            yield* sql`INSERT INTO api_keys (hash, name, prefix, last4, origin, created_at_ms)
              VALUES (${String(round).repeat(64)}, ${`key-${round}`}, '', '', 'command', 0)`
            expect(yield* sql`SELECT count(*) AS count FROM api_keys`).toEqual([{ count: round }])
          }).pipe(Effect.provide(context))
        )
      )
    }
  })
)

it.live("one for counts hands its commits to the system, and has them when it is opened again", () =>
  Effect.gen(function* () {
    const path = `${yield* folder}/entry.sqlite`
    const of = <A, E>(body: Effect.Effect<A, E, SqlClient>) =>
      Effect.scoped(Effect.flatMap(start(path, Database.layerOfCounts), (context) => Effect.provide(body, context)))
    yield* of(
      Effect.gen(function* () {
        const sql = yield* SqlClient
        expect(yield* sql`PRAGMA journal_mode`).toEqual([{ journal_mode: "wal" }])
        expect(yield* sql`PRAGMA synchronous`).toEqual([{ synchronous: 1 }])
        yield* sql`INSERT INTO served_requests (hour_ms, model, served_by, requests, tokens)
          VALUES (0, 'tiny', 'mesh', 3, 4)`
      })
    )
    const kept = of(Effect.flatMap(SqlClient, (sql) => sql`SELECT requests, tokens FROM served_requests`))
    expect(yield* kept).toEqual([{ requests: 3, tokens: 4 }])
  })
)

it.live("a database that cannot be used says what to do", () =>
  Effect.gen(function* () {
    const dir = yield* folder
    yield* Effect.promise(() => Bun.write(`${dir}/file`, "no database, but long enough to be looked at. ".repeat(100)))
    const cases = [
      [`${dir}/file/entry.sqlite`, /folder cannot be made or opened.*WEFT_DATA_DIR/],
      [`${dir}/file`, /no SQLite database.*WEFT_DATABASE_URL/],
      [dir, /folder cannot be made or opened|WEFT_DATA_DIR/]
    ] as const
    for (const [path, message] of cases) {
      const exit = yield* Effect.exit(start(path))
      expect(Exit.isFailure(exit)).toBe(true)
      expect((yield* Effect.flip(start(path))).message).toMatch(message)
    }
    for (const [cause, message] of [
      [Object.assign(new Error("database or disk is full"), { code: "SQLITE_FULL" }), /disk is full. Free/],
      [
        Object.assign(new Error("attempt to write a readonly database"), { code: "SQLITE_READONLY" }),
        /no right to write/
      ],
      [new Error("outer", { cause: Object.assign(new Error("x"), { code: "EACCES" }) }), /no right to write/],
      [Object.assign(new Error("database is locked"), { code: "SQLITE_BUSY" }), /another process/]
    ] as const) {
      expect(Database.adviceFor(cause)).toMatch(message)
    }
  })
)
