/**
 * OpenAI's own client against the door: it reads our answers, streams and errors as its own, and retries as it should.
 */
import { expect } from "bun:test"
import { parseList } from "@weft/entry/ApiKeys"
import { Effect, Either } from "effect"
import OpenAI, {
  APIError,
  AuthenticationError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
  RateLimitError
} from "openai"
import { it } from "../support/effect.ts"
import { type Door, open } from "./support.ts"

const secret = "weft-test-secret-0123456789"
const apiKeys = Either.getOrThrow(parseList(`ann:${secret}:6`))

const clientOf = (door: Door, options: { readonly apiKey?: string; readonly maxRetries?: number } = {}) =>
  new OpenAI({ baseURL: `${door.url}/v1`, apiKey: options.apiKey ?? secret, maxRetries: options.maxRetries ?? 0 })

const messages = [{ role: "user", content: "one two three" }] as const
const chat = { model: "plain", messages: [...messages] }

/** Runs what must reject, and returns why it did. */
const rejected = (run: () => PromiseLike<unknown>) =>
  Effect.promise(async () => {
    try {
      await run()
    } catch (error) {
      return error
    }
    throw new Error("it did not reject")
  })

it.live("OpenAI's client lists and finds models, also one with slash and colon in its id", () =>
  Effect.gen(function* () {
    const client = clientOf(yield* open())
    const page = yield* Effect.promise(() => client.models.list())
    expect(page.data.map(({ id }) => id)).toEqual(["org/tiny:Q4_K_M", "plain"])
    const model = yield* Effect.promise(() => client.models.retrieve("org/tiny:Q4_K_M"))
    expect([model.id, model.object, model.owned_by]).toEqual(["org/tiny:Q4_K_M", "model", "weft"])
  })
)

it.live("OpenAI's client chats: whole, cut by max_tokens, ended by a stop", () =>
  Effect.gen(function* () {
    const client = clientOf(yield* open())
    const ask = (fields: object) =>
      Effect.promise(() => client.chat.completions.create({ ...chat, ...fields, stream: false }))
    const answer = yield* ask({})
    expect(answer.choices[0]?.message.content).toBe("user:one two three")
    expect(answer._request_id).toMatch(/^req_/)
    const cut = yield* ask({ max_tokens: 2 })
    expect([cut.choices[0]?.message.content, cut.choices[0]?.finish_reason]).toEqual(["user:one two ", "length"])
    const huge = yield* ask({ max_tokens: 1e9 })
    expect(huge.choices[0]?.finish_reason).toBe("stop")
    const stopped = yield* ask({ stop: ["three", "nowhere"] })
    expect([stopped.choices[0]?.message.content, stopped.choices[0]?.finish_reason]).toEqual(["user:one two ", "stop"])
  })
)

it.live("OpenAI's client streams with usage, and puts the stream together again", () =>
  Effect.gen(function* () {
    const client = clientOf(yield* open())
    const chunks = yield* Effect.promise(async () => {
      const stream = await client.chat.completions.create({
        ...chat,
        stream: true,
        stream_options: { include_usage: true }
      })
      return Array.fromAsync(stream)
    })
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")).toBe("user:one two three")
    expect(chunks[0]?.choices[0]?.delta.role).toBe("assistant")
    expect(chunks.at(-1)?.usage?.total_tokens).toBe(6)
    const final = yield* Effect.promise(() => client.chat.completions.stream(chat).finalChatCompletion())
    expect(final.choices[0]?.message.content).toBe("user:one two three")
    expect(final.choices[0]?.finish_reason).toBe("stop")
  })
)

it.live("OpenAI's client continues texts, whole and streamed", () =>
  Effect.gen(function* () {
    const client = clientOf(yield* open())
    const whole = yield* Effect.promise(() => client.completions.create({ model: "plain", prompt: "a b c" }))
    expect([whole.object, whole.choices[0]?.text]).toEqual(["text_completion", "a b c"])
    const texts = yield* Effect.promise(async () => {
      const stream = await client.completions.create({ model: "plain", prompt: "a b c", stream: true })
      return (await Array.fromAsync(stream)).map((chunk) => chunk.choices[0]?.text)
    })
    expect(texts.join("")).toBe("a b c")
  })
)

it.live("an abort of OpenAI's client in the middle of a stream cancels the answer within a second", () =>
  Effect.gen(function* () {
    const door = yield* open({ answers: "hand" })
    const client = clientOf(door)
    const stream = yield* Effect.fork(Effect.promise(() => client.chat.completions.create({ ...chat, stream: true })))
    const turn = yield* door.turn
    yield* turn.send({ _tag: "Started", promptTokens: 1, seed: 1 }, { _tag: "Delta", text: "so far", tokens: [1] })
    const events = yield* stream
    const seen = yield* Effect.promise(async () => {
      const iterator = events[Symbol.asyncIterator]()
      await iterator.next()
      return (await iterator.next()).value
    })
    expect(seen?.choices[0]?.delta.content).toBe("so far")
    events.controller.abort()
    yield* Effect.timeout(turn.closed, "1 second")
  })
)

it.live("OpenAI's client throws the class of each error, with our code, param and request id", () =>
  Effect.gen(function* () {
    const client = clientOf(yield* open())
    const fail = (fields: object) => rejected(() => client.chat.completions.create({ ...chat, ...fields }))
    const missing = yield* fail({ model: "none" })
    expect(missing).toBeInstanceOf(NotFoundError)
    expect(missing).toMatchObject({
      status: 404,
      code: "model_not_found",
      param: "model",
      requestID: expect.stringMatching(/^req_/)
    })
    const bad = yield* fail({ temperature: 9 })
    expect(bad).toBeInstanceOf(BadRequestError)
    expect(bad).toMatchObject({ param: "temperature", type: "invalid_request_error" })
    const busy = yield* fail({ model: "busy" })
    expect(busy).toBeInstanceOf(InternalServerError)
    expect(busy).toMatchObject({ status: 503, code: "overloaded" })
  })
)

it.live("OpenAI's client knows a wrong key and a used-up limit, and does not retry what can never succeed", () =>
  Effect.gen(function* () {
    const door = yield* open({
      config: { apiKeys: [...apiKeys, ...Either.getOrThrow(parseList(`bob:${secret}-bob:3:5`))] }
    })
    const wrong = yield* rejected(() => clientOf(door, { apiKey: "wrong" }).models.list())
    expect(wrong).toBeInstanceOf(AuthenticationError)
    expect(wrong).toMatchObject({ status: 401, code: "invalid_api_key" })
    const bob = clientOf(door, { apiKey: `${secret}-bob`, maxRetries: 2 })
    const never = yield* rejected(() =>
      bob.chat.completions.create({ ...chat, messages: [{ role: "user", content: "x".repeat(100) }] })
    )
    expect(never).toBeInstanceOf(RateLimitError)
    expect(never).toMatchObject({ status: 429, code: "insufficient_quota" })
    // one of three requests is used: the client sent it once
    const { response } = yield* Effect.promise(() => bob.models.list().withResponse())
    expect(response.headers.get("x-ratelimit-remaining-requests")).toBe("1")
    const ann = clientOf(door)
    yield* Effect.forEach(Array.from({ length: 6 }), () => Effect.promise(() => ann.models.list()))
    const limited = yield* rejected(() => ann.models.list())
    expect(limited).toBeInstanceOf(RateLimitError)
    expect(limited).toMatchObject({ code: "rate_limit_exceeded", type: "requests" })
  })
)

it.live("OpenAI's client retries a lost peer before the headers, and throws our code for one lost after", () =>
  Effect.gen(function* () {
    const door = yield* open({ answers: "hand" })
    const client = clientOf(door, { maxRetries: 1 })
    const answer = yield* Effect.fork(Effect.promise(() => client.chat.completions.create(chat)))
    const first = yield* door.turn
    yield* first.send({ _tag: "Failed", failure: { code: "engine_lost", message: "" } })
    const second = yield* door.turn
    yield* second.send(
      { _tag: "Delta", text: "again", tokens: [1] },
      { _tag: "Finished", finishReason: "stop", usage: { promptTokens: 1, completionTokens: 1, cachedTokens: 0 } }
    )
    expect((yield* answer).choices[0]?.message.content).toBe("again")
    expect(second.request.requestId).not.toBe(first.request.requestId)

    const stream = yield* Effect.fork(Effect.promise(() => client.chat.completions.create({ ...chat, stream: true })))
    const third = yield* door.turn
    yield* third.send({ _tag: "Delta", text: "so far", tokens: [1] })
    const events = yield* stream
    const broken = yield* Effect.fork(rejected(() => Array.fromAsync(events)))
    yield* third.send({ _tag: "Failed", failure: { code: "engine_lost", message: "" } })
    const error = yield* broken
    expect(error).toBeInstanceOf(APIError)
    expect(error).toMatchObject({ code: "engine_lost" })
  })
)
