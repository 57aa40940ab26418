/** What the entry logs of a real request: its ids, never a user's text or a secret. */
import { expect } from "bun:test"
import { Effect, Logger, LogLevel } from "effect"
import { it } from "../support/effect.ts"
import { hello, open, post } from "./support.ts"

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
      expect(lines.filter((line) => line.includes("its sample is recorded"))).toHaveLength(2)
      expect(text).toContain(headers.get("x-request-id") ?? "none")
      expect(text).toContain("client-id-42")
      expect(text).not.toMatch(/private|very-secret|client id with|x{129}/)
    }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, kept)), Logger.withMinimumLogLevel(LogLevel.Debug))
  })
)

it.live("what breaks in the door is logged with its cause, and its client is told nothing of it", () =>
  Effect.gen(function* () {
    const lines: Array<string> = []
    const kept = Logger.map(Logger.logfmtLogger, (line) => void lines.push(line))
    yield* Effect.gen(function* () {
      const door = yield* open({ answers: "hand" })
      const url = `${door.url}/v1/chat/completions`
      for (const stream of [false, true]) {
        const broken = yield* post(url, { ...hello, model: "broken", stream })
        expect([broken.status, broken.json.error.code]).toEqual([500, "internal_error"])
        expect(broken.headers.get("x-request-id")).toMatch(/^req_/)
      }
      const answer = yield* Effect.fork(post(url, { ...hello, stream: true }))
      const turn = yield* door.turn
      yield* turn.send({ _tag: "Delta", text: "so far", tokens: [1] })
      // the mesh has no such event; whatever breaks behind the headers ends the stream the same way
      yield* turn.send({ _tag: "Delta", text: "no tokens", tokens: null as never })
      const { text } = yield* answer
      expect(text).toMatch(/so far[\s\S]*data: \{"error":\{[^\n]*"internal_error"\}\}\n\n$/)
      yield* turn.closed
      expect(lines.filter((line) => line.includes("a request broke"))).toHaveLength(3)
      expect(lines.join("\n")).toContain("the script is broken")
      const ended = lines.filter((line) => line.includes("answer ended"))
      expect(ended.map((line) => /why=(\w+)/.exec(line)?.[1])).toEqual(Array(3).fill("non_2xx_status"))
    }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, kept)))
  })
)
