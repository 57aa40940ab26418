/**
 * Whole answers over real HTTP, in the exact form of the OpenAI API: chats, texts, models, errors, headers, metrics.
 */
import { expect } from "bun:test"
import { Effect } from "effect"
import { it } from "../support/effect.ts"
import { answering, type Door, description, hello, open, post, ruleEvents, send } from "./support.ts"

it.live("a chat is answered in the exact form of the OpenAI API", () =>
  Effect.gen(function* () {
    const door = yield* open()
    const { status, headers, json } = yield* post(`${door.url}/v1/chat/completions`, hello)
    expect(status).toBe(200)
    expect(json).toEqual({
      id: `chatcmpl-${headers.get("x-request-id")?.slice(4)}`,
      object: "chat.completion",
      created: expect.any(Number),
      model: "plain",
      system_fingerprint: "fp_abababababab",
      choices: [
        {
          index: 0,
          message: { role: "assistant", content: "user:one two three", refusal: null },
          logprobs: null,
          finish_reason: "stop"
        }
      ],
      usage: {
        prompt_tokens: 3,
        completion_tokens: 3,
        total_tokens: 6,
        prompt_tokens_details: { cached_tokens: 1 },
        completion_tokens_details: { reasoning_tokens: 0 }
      }
    })
    expect(headers.get("content-type")).toBe("application/json")
    expect(headers.get("x-weft-served-by")).toBe(answering)
  })
)

it.live("a text completion is answered in the exact form of the OpenAI API, from text and from tokens", () =>
  Effect.gen(function* () {
    const door = yield* open()
    const prompts = [
      ["a b c", "a b c"],
      [["a b c"], "a b c"],
      [[1, 22, 3], "1 22 3"],
      [[[4, 5]], "4 5"]
    ] as const
    for (const [prompt, text] of prompts) {
      const { status, headers, json } = yield* post(`${door.url}/v1/completions`, { model: "plain", prompt })
      expect(status).toBe(200)
      expect(json).toEqual({
        id: `cmpl-${headers.get("x-request-id")?.slice(4)}`,
        object: "text_completion",
        created: expect.any(Number),
        model: "plain",
        system_fingerprint: "fp_abababababab",
        choices: [{ text, index: 0, logprobs: null, finish_reason: "stop" }],
        usage: expect.objectContaining({ total_tokens: text.split(" ").length * 2 })
      })
    }
    const long = yield* post(`${door.url}/v1/completions`, { model: "plain", prompt: "x ".repeat(40) })
    expect(long.json.choices[0].finish_reason).toBe("length")
    expect(long.json.usage.completion_tokens).toBe(16)
  })
)

/** Asks a chat with these fields and returns the request that the peer was sent for it. */
const requestFor = (door: Door, fields: Record<string, unknown>) =>
  Effect.gen(function* () {
    const answer = yield* Effect.fork(post(`${door.url}/v1/chat/completions`, { ...hello, ...fields }))
    const turn = yield* door.turn
    yield* turn.send(...ruleEvents(turn.request))
    yield* turn.end
    expect((yield* answer).status).toBe(200)
    return turn.request
  })

it.live("fields that are left out reach the peer as their defaults", () =>
  Effect.gen(function* () {
    const door = yield* open({ answers: "hand" })
    expect(yield* requestFor(door, {})).toEqual({
      requestId: expect.stringMatching(/^req_[0-9a-f]{32}$/),
      model: "plain",
      prompt: { _tag: "Chat", messages: [{ role: "user", content: "one two three" }] },
      stop: [],
      sampling: {
        temperature: 1,
        topK: 0,
        topP: 1,
        minP: 0,
        repeatPenalty: 1,
        frequencyPenalty: 0,
        presencePenalty: 0,
        logitBias: []
      }
    })
  })
)

it.live("a client may say how exact its answer must be, in a header", () =>
  Effect.gen(function* () {
    const door = yield* open({ answers: "hand" })
    const url = `${door.url}/v1/chat/completions`
    const answer = yield* Effect.fork(post(url, hello, { "x-weft-profile": "exact" }))
    const turn = yield* door.turn
    expect(turn.request.profile).toBe("exact")
    yield* turn.send(...ruleEvents(turn.request))
    yield* turn.end
    expect((yield* answer).status).toBe(200)
    const wrong = yield* post(url, hello, { "x-weft-profile": "perfect" })
    expect(wrong.status).toBe(400)
    expect(wrong.json).toMatchObject({ error: { param: "x-weft-profile", type: "invalid_request_error" } })
    const unavailable = yield* post(url, { ...hello, model: "rounded" }, { "x-weft-profile": "exact" })
    expect([unavailable.status, unavailable.json]).toMatchObject([
      400,
      { error: { param: "x-weft-profile", code: "profile_unavailable", message: expect.stringContaining("exact") } }
    ])
  })
)

it.live("every field reaches the peer as what it means", () =>
  Effect.gen(function* () {
    const door = yield* open({ answers: "hand" })
    const asked = yield* requestFor(door, {
      messages: [
        { role: "developer", content: "be brief" },
        {
          role: "user",
          name: "u",
          content: [
            { type: "text", text: "a" },
            { type: "text", text: "b" }
          ]
        },
        { role: "tool", tool_call_id: "x", content: "" }
      ],
      max_tokens: 3,
      max_completion_tokens: 1e9,
      stop: ["x", "y"],
      seed: -1,
      temperature: 0,
      top_p: 0.5,
      top_k: 40,
      min_p: 0.1,
      repeat_penalty: 1.1,
      frequency_penalty: -2,
      presence_penalty: 2,
      logit_bias: { "5": -100, "4294967295": 1.5 }
    })
    expect(asked).toMatchObject({
      prompt: {
        messages: [
          { role: "system", content: "be brief" },
          { role: "user", content: "a\nb" },
          { role: "tool", content: "" }
        ]
      },
      maxTokens: 512,
      stop: ["x", "y"],
      sampling: {
        temperature: 0,
        topK: 40,
        topP: 0.5,
        minP: 0.1,
        repeatPenalty: 1.1,
        frequencyPenalty: -2,
        presencePenalty: 2,
        seed: 0xffff_ffff,
        logitBias: [
          [5, -100],
          [4_294_967_295, 1.5]
        ]
      }
    })
    expect((yield* requestFor(door, { stop: "end", max_tokens: 3 })).maxTokens).toBe(3)
  })
)

it.live("models are listed and found by any spelling of their id", () =>
  Effect.gen(function* () {
    const door = yield* open()
    const list = yield* send(`${door.url}/v1/models`)
    expect(list.json).toEqual({
      object: "list",
      data: ["org/tiny:Q4_K_M", "plain"].map((id) => ({
        id,
        object: "model",
        created: 1_700_000_000,
        owned_by: "weft",
        context_length: 512,
        meta: { architecture: "llama", quantization: "F16", size_bytes: 1000, sha256: "ab".repeat(32), peers: 1 }
      }))
    })
    for (const path of ["org/tiny:Q4_K_M", "org%2Ftiny%3AQ4_K_M", "org%2ftiny:Q4_K_M", "org/tiny:Q4_K_M?x=/y"]) {
      expect((yield* send(`${door.url}/v1/models/${path}`)).json).toEqual(list.json.data[0])
    }
    for (const path of ["nope", "org", "org/tiny", "%00", "x".repeat(5000)]) {
      const { status, json } = yield* send(`${door.url}/v1/models/${path}`)
      expect([path, status, json?.error?.code]).toEqual([path, 404, "model_not_found"])
    }
    for (const path of ["%", "%ff", "%E0%A4"]) {
      expect((yield* send(`${door.url}/v1/models/${path}`)).status).toBe(404)
    }
  })
)

it.live("every response of every kind carries the headers all have", () =>
  Effect.gen(function* () {
    const door = yield* open()
    const chat = `${door.url}/v1/chat/completions`
    const responses = [
      yield* send(`${door.url}/health`),
      yield* send(`${door.url}/metrics`),
      yield* send(`${door.url}/.well-known/weft`),
      yield* send(`${door.url}/v1/models`),
      yield* send(`${door.url}/v1/models`, { method: "HEAD" }),
      yield* send(`${door.url}/v1/models/none`),
      yield* send(`${door.url}/nowhere`),
      yield* send(`${door.url}/v1/models`, { method: "DELETE" }),
      yield* send(chat, { method: "OPTIONS" }),
      yield* post(chat, hello),
      yield* post(chat, { ...hello, stream: true }),
      yield* post(chat, "{"),
      yield* post(chat, { ...hello, model: "busy" })
    ]
    const ids = responses.map(({ headers }) => headers.get("x-request-id") ?? "")
    expect(ids.every((id) => /^req_[0-9a-f]{32}$/.test(id))).toBe(true)
    expect(new Set(ids).size).toBe(ids.length)
    for (const { headers } of responses) {
      expect(headers.get("openai-version")).toBe("2020-10-01")
      expect(headers.get("openai-processing-ms")).toMatch(/^\d+$/)
      expect(headers.get("access-control-allow-origin")).toBe("*")
      expect(headers.get("access-control-expose-headers")).toContain("x-request-id")
    }
  })
)

it.live("addresses and methods: 404 and 405 in OpenAI form, HEAD as GET, preflights without a key", () =>
  Effect.gen(function* () {
    const door = yield* open()
    const unknown = yield* post(`${door.url}/v1/embeddings`, {})
    expect([unknown.status, unknown.json]).toEqual([
      404,
      {
        error: {
          message: "Invalid URL (POST /v1/embeddings)",
          type: "invalid_request_error",
          param: null,
          code: "unknown_url"
        }
      }
    ])
    const wrong = yield* send(`${door.url}/v1/chat/completions`)
    expect([wrong.status, wrong.json.error.code, wrong.headers.get("allow")]).toEqual([
      405,
      "method_not_supported",
      "POST, OPTIONS"
    ])
    for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
      const { status, headers } = yield* send(`${door.url}/health`, { method })
      expect([method, status, headers.get("allow")]).toEqual([method, 405, "GET, HEAD, OPTIONS"])
    }
    expect((yield* send(`${door.url}/v1/completions`, { method: "HEAD" })).status).toBe(405)
    const head = yield* send(`${door.url}/health`, { method: "HEAD" })
    expect([head.status, head.text]).toEqual([200, ""])
    const preflight = yield* send(`${door.url}/v1/chat/completions`, {
      method: "OPTIONS",
      headers: { origin: "https://example.org", "access-control-request-method": "POST" }
    })
    expect(preflight.status).toBe(204)
    expect(preflight.headers.get("access-control-allow-methods")).toContain("POST")
    for (const name of ["Authorization", "Content-Type", "OpenAI-Organization", "X-Stainless-Retry-Count"]) {
      expect(preflight.headers.get("access-control-allow-headers")).toContain(name)
    }
  })
)

it.live("an address that answers may be spelled as every other: case, slashes, a query, percent signs", () =>
  Effect.gen(function* () {
    const door = yield* open()
    for (const path of [
      "/v1/chat/completions?x=1",
      "/v1/chat/completions/",
      "/v1/chat/completions/?",
      "/V1/Chat/Completions",
      "/v1//chat///completions",
      "/v1/ch%61t/completions",
      "/v1/chat/completions;x=1?y=/z"
    ]) {
      expect([path, (yield* post(`${door.url}${path}`, hello)).status]).toEqual([path, 200])
      expect([path, (yield* send(`${door.url}${path}`)).status]).toEqual([path, 405])
    }
    for (const path of [
      "/v1/chat%2Fcompletions",
      "/v1/chat/completions/x",
      "/v1/chat/completions%3f",
      "/v1/chat%",
      "/v1"
    ]) {
      const { status, json } = yield* post(`${door.url}${path}`, hello)
      expect([path, status, json.error.message]).toEqual([path, 404, `Invalid URL (POST ${path})`])
      expect([path, (yield* send(`${door.url}${path}`)).status]).toEqual([path, 404])
    }
  })
)

it.live("what fails before an answer has the status, type and code of its cause", () =>
  Effect.gen(function* () {
    const door = yield* open()
    const cases = [
      [{ model: "none" }, 404, "invalid_request_error", "model_not_found", "model"],
      [{ model: "busy" }, 503, "server_error", "overloaded", null],
      [{ model: "gone" }, 503, "server_error", "no_peer", null],
      ...(
        [
          ["overloaded", 503, "server_error", "overloaded", null],
          ["context_length_exceeded", 400, "invalid_request_error", "context_length_exceeded", "messages"],
          ["internal", 502, "server_error", "peer_failed", null],
          ["engine_lost", 502, "server_error", "engine_lost", null]
        ] as const
      ).map(([failure, ...rest]) => [{ messages: [{ role: "user", content: `FAIL ${failure}` }] }, ...rest] as const)
    ] as const
    for (const [fields, status, type, code, param] of cases) {
      for (const stream of [false, true]) {
        const answer = yield* post(`${door.url}/v1/chat/completions`, { ...hello, ...fields, stream })
        expect([answer.status, answer.json]).toEqual([
          status,
          { error: { message: expect.any(String), type, param, code } }
        ])
        expect(answer.headers.get("content-type")).toBe("application/json")
        expect(answer.text).not.toContain("u0007")
      }
    }
    const busy = yield* post(`${door.url}/v1/chat/completions`, { ...hello, model: "busy" })
    expect([busy.headers.get("retry-after"), busy.headers.get("retry-after-ms")]).toEqual(["3", "3000"])
  })
)

it.live("the health, the description and the metrics are there without a key", () =>
  Effect.gen(function* () {
    const door = yield* open({ config: { apiKeys: [] } })
    yield* post(`${door.url}/v1/chat/completions`, hello)
    yield* post(`${door.url}/v1/chat/completions`, { ...hello, model: `made-up-${door.port}` })
    expect((yield* send(`${door.url}/health`)).json).toEqual({ status: "ok" })
    expect((yield* send(`${door.url}/.well-known/weft`)).json).toEqual(description)
    const metrics = yield* send(`${door.url}/metrics`)
    expect(metrics.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8")
    for (const line of [
      /weft_requests_total\{model="plain",code="200"\} \d+/,
      /weft_requests_total\{model="other",code="404"\} \d+/,
      /weft_ttft_seconds_count\{model="plain"\} \d+/,
      /weft_request_duration_seconds_count\{model="plain"\} \d+/,
      /weft_tokens_total\{model="plain",kind="completion"\} \d+/,
      /weft_requests_in_flight\{model="plain"\} 0/
    ]) {
      expect(metrics.text).toMatch(line)
    }
    expect(metrics.text).not.toContain("made-up")
  })
)
