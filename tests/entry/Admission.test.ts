/**
 * Who may ask how much: keys, limits and the shut door, over real HTTP and a real database that another process
 * changes.
 */
import { expect } from "bun:test"
import { BunContext } from "@effect/platform-bun"
import { SqlClient } from "@effect/sql/SqlClient"
import { Admission } from "@weft/entry/Admission"
import { ApiKeyStore } from "@weft/entry/ApiKeyStore"
import { fromSecret, parseList } from "@weft/entry/ApiKeys"
import * as Database from "@weft/entry/Database"
import { EntryConfig } from "@weft/entry/EntryConfig"
import { Effect, Either, Layer, Option, Schedule } from "effect"
import { it } from "../support/effect.ts"
import { folder, hello, open, post, send } from "./support.ts"

const secret = "weft-test-secret-0123456789"
const keysOf = (list: string) => Either.getOrThrow(parseList(list))
const bearer = (key: string) => ({ authorization: `Bearer ${key}` })

it.live("with keys, only a valid one is let in; health, metrics and the description need none", () =>
  Effect.gen(function* () {
    const door = yield* open({ config: { apiKeys: keysOf(`ann:${secret}`) } })
    const chat = `${door.url}/v1/chat/completions`
    for (const headers of [{}, bearer("wrong-secret-0123456789"), { authorization: "Basic eA==" }]) {
      for (const answer of [yield* post(chat, hello, headers), yield* send(`${door.url}/v1/models`, { headers })]) {
        expect([answer.status, answer.json]).toEqual([
          401,
          {
            error: {
              message: expect.any(String),
              type: "invalid_request_error",
              param: null,
              code: "invalid_api_key"
            }
          }
        ])
        expect(answer.headers.get("www-authenticate")).toBe("Bearer")
        expect(answer.headers.get("x-request-id")).toMatch(/^req_/)
      }
    }
    const big = yield* post(chat, { ...hello, user: "x".repeat(6 * 1024 * 1024) })
    expect(big.status).toBe(401)
    expect((yield* post(chat, hello, bearer(secret))).status).toBe(200)
    for (const path of ["/health", "/metrics", "/.well-known/weft"]) {
      expect((yield* send(`${door.url}${path}`)).status).toBe(200)
    }
    expect((yield* send(chat, { method: "OPTIONS" })).status).toBe(204)
  })
)

it.live("requests per minute: the headers count down, then 429 with the time to wait", () =>
  Effect.gen(function* () {
    const door = yield* open({ config: { apiKeys: keysOf(`ann:${secret}:3,bob:${secret}-2`) } })
    const ask = (key: string) => post(`${door.url}/v1/chat/completions`, hello, bearer(key))
    for (const left of ["2", "1", "0"]) {
      const { status, headers } = yield* ask(secret)
      expect([status, headers.get("x-ratelimit-remaining-requests")]).toEqual([200, left])
      expect(headers.get("x-ratelimit-limit-requests")).toBe("3")
      expect(headers.get("x-ratelimit-reset-requests")).toMatch(/^(\d+m)?[\d.]+m?s$/)
    }
    const { status, headers, json } = yield* ask(secret)
    expect([status, json.error.type, json.error.code]).toEqual([429, "requests", "rate_limit_exceeded"])
    const waitMs = Number(headers.get("retry-after-ms"))
    expect(waitMs).toBeGreaterThan(0)
    expect(headers.get("retry-after")).toBe(String(Math.ceil(waitMs / 1000)))
    expect((yield* ask(`${secret}-2`)).status).toBe(200)
  })
)

it.live("tokens per minute: taken by estimate, settled by use, and refused for good where a prompt can never fit", () =>
  Effect.gen(function* () {
    const door = yield* open({ config: { apiKeys: keysOf(`ann:${secret}::100`) } })
    const ask = (fields: Record<string, unknown>) =>
      post(`${door.url}/v1/chat/completions`, { ...hello, ...fields }, bearer(secret))
    const first = yield* ask({ max_tokens: 90 })
    expect([first.status, first.headers.get("x-ratelimit-limit-tokens")]).toEqual([200, "100"])
    expect(Number(first.headers.get("x-ratelimit-remaining-tokens"))).toBeLessThan(10)
    // the answer used 6 of the 94 that were taken
    const second = yield* ask({ max_tokens: 80 })
    expect(second.status).toBe(200)
    const third = yield* ask({ max_tokens: 100 })
    expect([third.status, third.json.error.type, third.json.error.code]).toEqual([429, "tokens", "rate_limit_exceeded"])
    expect(third.headers.get("x-should-retry")).toBeNull()
    const never = yield* ask({ messages: [{ role: "user", content: "x".repeat(1000) }] })
    expect([never.status, never.json.error.code]).toEqual([429, "insufficient_quota"])
    expect(never.headers.get("x-should-retry")).toBe("false")
  })
)

it.live("the default limits hold where a key names none, and for all callers of an open door together", () =>
  Effect.gen(function* () {
    const door = yield* open({ config: { requestsPerMinute: Option.some(2) } })
    const statuses = yield* Effect.forEach([1, 2, 3], () => send(`${door.url}/v1/models`))
    expect(statuses.map(({ status }) => status)).toEqual([200, 200, 429])
  })
)

it.live("a key that another process makes or revokes counts within seconds", () =>
  Effect.gen(function* () {
    const databasePath = `${yield* folder}/entry.sqlite`
    const door = yield* open({ config: { databasePath, apiKeys: keysOf(`ann:${secret}`) } })
    const other = yield* Layer.build(
      ApiKeyStore.layer.pipe(
        Layer.provide(Database.layer),
        Layer.provide(EntryConfig.layer({ databasePath })),
        Layer.provide(BunContext.layer)
      )
    ).pipe(
      Effect.map((context) => context.pipe((services) => Effect.provide(ApiKeyStore, services))),
      Effect.flatten
    )
    const limits = { requestsPerMinute: null, tokensPerMinute: null, region: null, trust: null }
    yield* other.create(fromSecret("eve", `${secret}-eve`, limits))
    const status = (expected: number) =>
      Effect.repeat(
        send(`${door.url}/v1/models`, { headers: bearer(`${secret}-eve`) }),
        Schedule.recurUntil<{ status: number }>((answer) => answer.status === expected).pipe(
          Schedule.addDelay(() => "100 millis")
        )
      ).pipe(Effect.timeout("8 seconds"))
    yield* status(200)
    yield* other.revoke("eve")
    yield* status(401)
    expect((yield* other.list).map(({ name, origin, revokedAtMs }) => [name, origin, revokedAtMs !== null])).toEqual([
      ["ann", "environment", false],
      ["eve", "command", true]
    ])
    expect((yield* Effect.flip(other.create(fromSecret("eve", "another-secret", limits)))).reason).toBe("NameTaken")
    expect((yield* Effect.flip(other.revoke("eve"))).reason).toBe("NoSuchName")
  })
)

it.live("without a key the door opens on loopback alone, and says what to do elsewhere", () =>
  Effect.gen(function* () {
    const start = (httpHost: string, apiKeys = keysOf("")) =>
      Effect.gen(function* () {
        const config = EntryConfig.layer({ httpHost, apiKeys, databasePath: `${yield* folder}/entry.sqlite` })
        return yield* Layer.build(
          Admission.layer.pipe(
            Layer.provide(ApiKeyStore.layer),
            Layer.provide(Database.layer),
            Layer.provide(config),
            Layer.provide(BunContext.layer)
          )
        )
      })
    for (const host of ["127.0.0.1", "127.8.8.8", "localhost", "::1"]) yield* start(host)
    for (const host of ["0.0.0.0", "::", "192.168.1.4", "example.org", "127.0.0.1.example.org"]) {
      expect(String(yield* Effect.flip(start(host)))).toContain("WEFT_API_KEYS=name:secret")
      yield* start(host, keysOf(`ann:${secret}`))
    }
  })
)

it.live("a door others can reach stays shut when its last key is gone from the database", () =>
  Effect.gen(function* () {
    const config = EntryConfig.layer({
      httpHost: "0.0.0.0",
      apiKeys: keysOf(`ann:${secret}`),
      databasePath: `${yield* folder}/entry.sqlite`
    })
    const services = yield* Layer.build(
      Admission.layer.pipe(
        Layer.provideMerge(ApiKeyStore.layer),
        Layer.provideMerge(Database.layer),
        Layer.provide(config),
        Layer.provide(BunContext.layer)
      )
    )
    yield* Effect.gen(function* () {
      const admission = yield* Admission
      const other = yield* Layer.build(Database.layer.pipe(Layer.provide(config), Layer.provide(BunContext.layer)))
      expect((yield* admission.admit(`Bearer ${secret}`, {})).name).toBe("ann")
      yield* Effect.flatMap(SqlClient, (sql) => sql`DELETE FROM api_keys`).pipe(Effect.provide(other))
      yield* Effect.repeat(
        Effect.sync(() => admission.admit(`Bearer ${secret}`, {})),
        {
          until: Either.isLeft,
          schedule: Schedule.spaced("100 millis")
        }
      ).pipe(Effect.timeout("8 seconds"))
      expect((yield* Effect.flip(admission.admit(undefined, {}))).status).toBe(401)
    }).pipe(Effect.provide(services))
  })
)
