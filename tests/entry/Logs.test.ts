/** What the entry logs of a real request: its ids, never a user's text or a secret. */
import { expect } from "bun:test"
import { Effect, Logger, LogLevel } from "effect"
import { it } from "../support/effect.ts"
import { open, post } from "./support.ts"

it.live("the log has a request's ids and never its text, its key, or an id that is no id", () =>
  Effect.gen(function* () {
    const lines: Array<string> = []
    const kept = Logger.map(Logger.logfmtLogger, (line) => void lines.push(line))
    yield* Effect.gen(function* () {
      const door = yield* open()
      const chat = { model: "plain", messages: [{ role: "user", content: "a very private matter" }] }
      const send = (id: string, fields: object = {}) =>
        post(
          `${door.url}/v1/chat/completions`,
          { ...chat, ...fields },
          {
            "x-client-request-id": id,
            authorization: "Bearer very-secret-key-0123"
          }
        )
      const { headers } = yield* send("client-id-42")
      yield* send("client id with spaces", { stream: true })
      yield* send("x".repeat(200), { temperature: "private heat" })
      const text = lines.join("\n")
      expect(text).toContain(headers.get("x-request-id") ?? "none")
      expect(text).toContain("client-id-42")
      expect(text).not.toMatch(/private|very-secret|client id with|x{129}/)
    }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, kept)), Logger.withMinimumLogLevel(LogLevel.Debug))
  })
)
