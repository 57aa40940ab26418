/** A door that stops under real streams: they finish or are ended with an event, and new ones are refused. */
import { expect } from "bun:test"
import { Duration, Effect, Exit, Scope } from "effect"
import { it } from "../support/effect.ts"
import { hello, open, post } from "./support.ts"

const begun = { _tag: "Delta", text: "so far ", tokens: [1] } as const
const finished = {
  _tag: "Finished",
  finishReason: "stop",
  usage: { promptTokens: 1, completionTokens: 1, cachedTokens: 0 }
} as const

it.live("a door that stops lets streams finish, and refuses new answers meanwhile", () =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const door = yield* Scope.extend(open({ answers: "hand", limits: { drain: Duration.seconds(10) } }), scope)
    const answer = yield* Effect.fork(post(`${door.url}/v1/chat/completions`, { ...hello, stream: true }))
    const turn = yield* door.turn
    yield* turn.send(begun)
    const stopping = yield* Effect.fork(Scope.close(scope, Exit.void))
    const refused = yield* Effect.repeat(post(`${door.url}/v1/chat/completions`, { ...hello, model: "none" }), {
      until: ({ status }) => status !== 404
    })
    expect([refused.status, refused.json.error.code]).toEqual([503, "shutting_down"])
    expect(refused.headers.get("retry-after")).toBe("2")
    yield* turn.send(finished)
    yield* turn.end
    expect((yield* answer).text).toEndWith("data: [DONE]\n\n")
    yield* stopping
  })
)

it.live("a stream that outlasts the stop ends with an error event and is cancelled", () =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const door = yield* Scope.extend(open({ answers: "hand", limits: { drain: Duration.millis(100) } }), scope)
    const answer = yield* Effect.fork(post(`${door.url}/v1/chat/completions`, { ...hello, stream: true }))
    const turn = yield* door.turn
    yield* turn.send(begun)
    yield* Effect.fork(Scope.close(scope, Exit.void))
    yield* turn.closed
    const { text } = yield* answer
    expect(text).toContain('"code":"shutting_down"')
    expect(text).not.toContain("[DONE]")
  })
)

it.live("a whole answer that outlasts the stop is a 503, and is cancelled", () =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const door = yield* Scope.extend(open({ answers: "hand", limits: { drain: Duration.millis(100) } }), scope)
    const answer = yield* Effect.fork(post(`${door.url}/v1/chat/completions`, hello))
    const turn = yield* door.turn
    yield* turn.send(begun)
    yield* Effect.fork(Scope.close(scope, Exit.void))
    yield* turn.closed
    const { status, json, headers } = yield* answer
    expect([status, json.error.code]).toEqual([503, "shutting_down"])
    expect(headers.get("x-request-id")).toMatch(/^req_/)
  })
)
