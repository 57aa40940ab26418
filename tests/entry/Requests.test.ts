/**
 * Bodies to requests: whatever is generated, hostile JSON and bytes too, becomes a valid request or a 400, never a
 * throw.
 */
import { expect } from "bun:test"
import { GenerateRequest } from "@weft/engine/Generation"
import * as ChatRequest from "@weft/entry/http/ChatRequest"
import * as CompletionRequest from "@weft/entry/http/CompletionRequest"
import * as RequestBody from "@weft/entry/http/RequestBody"
import { Effect, Either, FastCheck, Schema } from "effect"
import { it } from "../support/effect.ts"

const isRequest = Schema.is(GenerateRequest)

const number = FastCheck.oneof(
  FastCheck.double(),
  FastCheck.integer(),
  FastCheck.constantFrom(0, -0, 1, 2, 100, 1e9, 1e300, 2 ** 53, -(2 ** 63))
)
const part = FastCheck.record({ type: FastCheck.constantFrom("text", "image_url"), text: FastCheck.string() })
const message = FastCheck.record({
  role: FastCheck.constantFrom("system", "developer", "user", "assistant", "tool"),
  content: FastCheck.oneof(FastCheck.string(), FastCheck.array(part), FastCheck.anything())
})
const value = FastCheck.oneof(
  number,
  FastCheck.boolean(),
  FastCheck.string(),
  FastCheck.array(FastCheck.string({ minLength: 1 }), { maxLength: 5 }),
  FastCheck.dictionary(FastCheck.nat().map(String), number),
  FastCheck.jsonValue(),
  FastCheck.constant(null)
)
const fields = [
  "temperature",
  "top_p",
  "top_k",
  "min_p",
  "repeat_penalty",
  "presence_penalty",
  "frequency_penalty",
  "seed",
  "stop",
  "logit_bias",
  "max_tokens",
  "max_completion_tokens",
  "stream",
  "stream_options",
  "n",
  "tools",
  "logprobs"
]
const extra = FastCheck.dictionary(FastCheck.constantFrom(...fields), value, { maxKeys: 3 })

const body = FastCheck.tuple(
  FastCheck.record({
    model: FastCheck.oneof(
      { weight: 9, arbitrary: FastCheck.string({ minLength: 1 }) },
      { weight: 1, arbitrary: value }
    ),
    messages: FastCheck.oneof(
      { weight: 9, arbitrary: FastCheck.array(message, { minLength: 1, maxLength: 4 }) },
      { weight: 1, arbitrary: value }
    ),
    prompt: FastCheck.oneof(FastCheck.string(), FastCheck.array(FastCheck.nat()), value)
  }),
  extra
).map(([good, more]) => ({ ...good, ...more }))

it.prop(
  "whatever a body holds, it becomes a request a peer takes, or a 400 that names a field",
  body,
  (body) =>
    Effect.sync(() => {
      for (const fromBody of [ChatRequest.fromBody, CompletionRequest.fromBody]) {
        const asked = fromBody(body)
        if (Either.isLeft(asked)) {
          expect([asked.left.status, typeof asked.left.param]).toEqual([400, "string"])
          continue
        }
        const { model, prompt, sampling, stop, maxTokens } = asked.right
        const request = {
          requestId: "r",
          model,
          prompt,
          sampling,
          stop,
          ...(maxTokens === undefined ? {} : { maxTokens })
        }
        expect([isRequest(request), request]).toEqual([true, request])
      }
    }),
  { runs: 1500, timeoutMs: 60_000 }
)

/** The same body in a form that the schemas themselves read, as the short way is for plain bodies alone. */
const notPlain = (body: Readonly<Record<string, unknown>>) => ({
  ...body,
  messages: Array.isArray(body["messages"])
    ? body["messages"].map((message) => (isObject(message) ? { tool_calls: null, ...message } : message))
    : body["messages"],
  prompt: typeof body["prompt"] === "string" ? [body["prompt"]] : body["prompt"]
})
const isObject = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !Array.isArray(value)

it.prop(
  "a plain body is read the short way as its schema reads it",
  body,
  (body) =>
    Effect.sync(() => {
      for (const fromBody of [ChatRequest.fromBody, CompletionRequest.fromBody]) {
        expect(fromBody(body)).toEqual(fromBody(notPlain(body)))
      }
    }),
  { runs: 1500, timeoutMs: 60_000 }
)

it.prop(
  "any bytes are a JSON object or a 400, and JSON within the depth is read as JSON.parse reads it",
  FastCheck.oneof(
    FastCheck.uint8Array({ maxLength: 200 }),
    FastCheck.json().map((text) => new TextEncoder().encode(`{"x":${text}}`))
  ),
  (bytes) =>
    Effect.gen(function* () {
      const parsed = yield* Effect.either(RequestBody.parse(bytes, 64))
      if (Either.isLeft(parsed)) expect(parsed.left.status).toBe(400)
      else expect(parsed.right).toEqual(JSON.parse(new TextDecoder().decode(bytes)))
    }),
  { runs: 500 }
)

it.prop(
  "the depth of nesting is judged without parsing: as many brackets as allowed pass, one more does not",
  FastCheck.tuple(FastCheck.integer({ min: 1, max: 64 }), FastCheck.string()),
  ([depth, text]) =>
    Effect.sync(() => {
      const nested = (levels: number) =>
        new TextEncoder().encode(`${"[".repeat(levels)}${JSON.stringify(text)}${"]".repeat(levels)}`)
      expect(RequestBody.isShallow(nested(depth), depth)).toBe(true)
      expect(RequestBody.isShallow(nested(depth + 1), depth)).toBe(false)
    })
)
