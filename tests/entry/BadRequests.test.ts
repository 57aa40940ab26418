/**
 * Wrong requests over real HTTP: each is refused with the field at fault, in time, and the door stays open for the
 * next.
 */
import { expect } from "bun:test"
import { connect } from "node:net"
import { Duration, Effect } from "effect"
import { it } from "../support/effect.ts"
import { hello, open, post, send } from "./support.ts"

/** Each row: what is wrong, the fields that differ from a good chat, and the field the error must name. */
const chatCases: ReadonlyArray<readonly [what: string, fields: Record<string, unknown>, param: string]> = [
  ["model missing", { model: undefined }, "model"],
  ["model null", { model: null }, "model"],
  ["model a number", { model: 3 }, "model"],
  ["model empty", { model: "" }, "model"],
  ["model too long", { model: "m".repeat(257) }, "model"],
  ["messages missing", { messages: undefined }, "messages"],
  ["messages null", { messages: null }, "messages"],
  ["messages a string", { messages: "hi" }, "messages"],
  ["messages an object", { messages: {} }, "messages"],
  ["messages empty", { messages: [] }, "messages"],
  ["4097 messages", { messages: Array.from({ length: 4097 }, () => hello.messages[0]) }, "messages"],
  ["10^5 messages", { messages: Array.from({ length: 100_000 }, () => 1) }, "messages"],
  ["message a string", { messages: ["hi"] }, "messages[0]"],
  ["message null", { messages: [null] }, "messages[0]"],
  ["role missing", { messages: [{ content: "hi" }] }, "messages[0].role"],
  ["role unknown", { messages: [{ role: "robot", content: "hi" }] }, "messages[0].role"],
  ["role deprecated", { messages: [{ role: "function", name: "f", content: "hi" }] }, "messages[0].role"],
  ["content missing", { messages: [{ role: "user" }] }, "messages[0].content"],
  ["content null", { messages: [{ role: "assistant", content: null }] }, "messages[0].content"],
  [
    "third content a number",
    { messages: [...hello.messages, ...hello.messages, { role: "user", content: 5 }] },
    "messages[2].content"
  ],
  ["content an object", { messages: [{ role: "user", content: { text: "hi" } }] }, "messages[0].content"],
  ["part a string", { messages: [{ role: "user", content: ["hi"] }] }, "messages[0].content[0]"],
  ["part without text", { messages: [{ role: "user", content: [{ type: "text" }] }] }, "messages[0].content[0].text"],
  [
    "text part a number",
    { messages: [{ role: "user", content: [{ type: "text", text: 1 }] }] },
    "messages[0].content[0].text"
  ],
  [
    "image part",
    {
      messages: [
        {
          role: "user",
          content: [
            { type: "text", text: "see" },
            { type: "image_url", image_url: { url: "http://127.0.0.1/x" } }
          ]
        }
      ]
    },
    "messages[0].content[1].type"
  ],
  [
    "audio part",
    { messages: [{ role: "user", content: [{ type: "input_audio", input_audio: {} }] }] },
    "messages[0].content[0].type"
  ],
  [
    "10^5 parts",
    { messages: [{ role: "user", content: Array.from({ length: 100_000 }, () => 1) }] },
    "messages[0].content"
  ],
  [
    "tool calls in history",
    { messages: [{ role: "assistant", content: "", tool_calls: [{ id: "a" }] }] },
    "messages[0].tool_calls"
  ],
  [
    "text above the most characters",
    { messages: [{ role: "user", content: "x".repeat(4 * 1024 * 1024 + 1) }] },
    "messages[0].content"
  ],
  [
    "texts together above the most",
    { messages: [0, 1].map(() => ({ role: "user", content: "x".repeat(3 * 1024 * 1024) })) },
    "messages"
  ],
  ["stream a string", { stream: "yes" }, "stream"],
  ["stream a number", { stream: 1 }, "stream"],
  ["stream_options without stream", { stream_options: { include_usage: true } }, "stream_options"],
  ["stream_options a boolean", { stream: true, stream_options: true }, "stream_options"],
  ["include_usage a string", { stream: true, stream_options: { include_usage: "yes" } }, "stream_options"],
  ["max_tokens zero", { max_tokens: 0 }, "max_tokens"],
  ["max_tokens negative", { max_tokens: -1 }, "max_tokens"],
  ["max_tokens a fraction", { max_tokens: 1.5 }, "max_tokens"],
  ["max_tokens a string", { max_tokens: "5" }, "max_tokens"],
  ["max_tokens beyond integers", { max_tokens: 1e300 }, "max_tokens"],
  ["max_completion_tokens zero", { max_completion_tokens: 0 }, "max_completion_tokens"],
  ["stop a number", { stop: 1 }, "stop"],
  ["stop empty text", { stop: "" }, "stop"],
  ["five stops", { stop: ["a", "b", "c", "d", "e"] }, "stop"],
  ["stop with a number", { stop: ["a", 1] }, "stop"],
  ["stop too long", { stop: "x".repeat(257) }, "stop"],
  ["10^6 stops", { stop: Array.from({ length: 1_000_000 }, () => "a") }, "stop"],
  ["seed a fraction", { seed: 0.5 }, "seed"],
  ["seed a string", { seed: "1" }, "seed"],
  ["temperature above 2", { temperature: 2.1 }, "temperature"],
  ["temperature negative", { temperature: -0.1 }, "temperature"],
  ["temperature a string", { temperature: "hot" }, "temperature"],
  ["top_p above 1", { top_p: 1.01 }, "top_p"],
  ["top_p an array", { top_p: [1] }, "top_p"],
  ["top_k a fraction", { top_k: 1.5 }, "top_k"],
  ["top_k negative", { top_k: -1 }, "top_k"],
  ["min_p above 1", { min_p: 2 }, "min_p"],
  ["repeat_penalty zero", { repeat_penalty: 0 }, "repeat_penalty"],
  ["presence_penalty above 2", { presence_penalty: 3 }, "presence_penalty"],
  ["frequency_penalty below -2", { frequency_penalty: -3 }, "frequency_penalty"],
  ["logit_bias an array", { logit_bias: [1] }, "logit_bias"],
  ["logit_bias of a word", { logit_bias: { hello: 1 } }, "logit_bias"],
  ["logit_bias above 100", { logit_bias: { "5": 101 } }, "logit_bias"],
  ["logit_bias a string", { logit_bias: { "5": "1" } }, "logit_bias"],
  ["1025 biases", { logit_bias: Object.fromEntries(Array.from({ length: 1025 }, (_, id) => [id, 1])) }, "logit_bias"],
  [
    "7 × 10^5 biases",
    { logit_bias: Object.fromEntries(Array.from({ length: 700_000 }, (_, id) => [id, 1])) },
    "logit_bias"
  ],
  ["n of 2", { n: 2 }, "n"],
  ["n of 10^6", { n: 1_000_000 }, "n"],
  ["n a string", { n: "1" }, "n"],
  ["tools", { tools: [{ type: "function", function: { name: "f" } }] }, "tools"],
  [
    "a 1 MB tool schema",
    { tools: [{ type: "function", function: { parameters: { pattern: "a".repeat(1_000_000) } } }] },
    "tools"
  ],
  ["tool_choice required", { tool_choice: "required" }, "tool_choice"],
  ["functions", { functions: [{ name: "f" }] }, "functions"],
  ["function_call", { function_call: { name: "f" } }, "function_call"],
  ["response_format json_object", { response_format: { type: "json_object" } }, "response_format"],
  ["response_format json_schema", { response_format: { type: "json_schema", json_schema: {} } }, "response_format"],
  ["audio", { audio: { voice: "alloy" } }, "audio"],
  ["modalities with audio", { modalities: ["text", "audio"] }, "modalities"],
  ["logprobs", { logprobs: true }, "logprobs"],
  ["top_logprobs", { top_logprobs: 3 }, "top_logprobs"],
  ["prediction", { prediction: { type: "content", content: "x" } }, "prediction"],
  ["web search", { web_search_options: {} }, "web_search_options"]
]

const completionCases: ReadonlyArray<readonly [what: string, fields: Record<string, unknown>, param: string]> = [
  ["prompt missing", {}, "prompt"],
  ["prompt null", { prompt: null }, "prompt"],
  ["prompt a number", { prompt: 1 }, "prompt"],
  ["prompt an empty array", { prompt: [] }, "prompt"],
  ["two prompts", { prompt: ["a", "b"] }, "prompt"],
  ["two token prompts", { prompt: [[1], [2]] }, "prompt"],
  ["negative token", { prompt: [-1] }, "prompt"],
  ["fractional token", { prompt: [1.5] }, "prompt"],
  ["tokens and text", { prompt: [1, "a"] }, "prompt"],
  ["echo", { prompt: "a", echo: true }, "echo"],
  ["suffix", { prompt: "a", suffix: "b" }, "suffix"],
  ["best_of", { prompt: "a", best_of: 2 }, "best_of"],
  ["n", { prompt: "a", n: 2 }, "n"],
  ["logprobs", { prompt: "a", logprobs: 1 }, "logprobs"]
]

const expectError = (json: unknown, param: string | null): void =>
  expect(json).toEqual({
    error: { message: expect.any(String), type: "invalid_request_error", param, code: expect.any(String) }
  })

/** Most time of a processor for one bad request. */
const processorMsMax = 3_000

it.live(
  `each of ${chatCases.length} bad chats is a 400 that names its field, quickly, and the door stays open`,
  () =>
    Effect.gen(function* () {
      const door = yield* open()
      for (const [what, fields, param] of chatCases) {
        const before = process.cpuUsage()
        const answer = yield* post(`${door.url}/v1/chat/completions`, { ...hello, ...fields })
        const { system, user } = process.cpuUsage(before)
        expect([what, answer.status, answer.json?.error?.param]).toEqual([what, 400, param])
        expectError(answer.json, param)
        expect(answer.json.error.message.length).toBeLessThan(400)
        // The door is in this process; how long it has a processor to itself is not its doing.
        expect((system + user) / 1000).toBeLessThan(processorMsMax)
      }
      expect((yield* post(`${door.url}/v1/chat/completions`, hello)).status).toBe(200)
    }),
  60_000
)

it.live(`each of ${completionCases.length} bad completions is a 400 that names its field`, () =>
  Effect.gen(function* () {
    const door = yield* open()
    for (const [what, fields, param] of completionCases) {
      const { status, json } = yield* post(`${door.url}/v1/completions`, { model: "plain", ...fields })
      expect([what, status, json?.error?.param]).toEqual([what, 400, param])
      expectError(json, param)
    }
  })
)

/** Each row: what is wrong and the bytes of the body. */
const bodies: ReadonlyArray<readonly [what: string, body: string | Uint8Array<ArrayBuffer>]> = [
  ["nothing", ""],
  ["space", "   "],
  ["half an object", '{"model":"plain"'],
  ["single quotes", "{'model':'plain'}"],
  ["two objects", "{}{}"],
  ["a trailing comma", '{"model":"plain",}'],
  ["an array", "[]"],
  ["a string", '"hi"'],
  ["null", "null"],
  ["a number", "1"],
  ["NaN", '{"temperature":NaN}'],
  ["a form", "model=plain&messages=hi"],
  ["invalid UTF-8", new Uint8Array([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d])],
  ["a lone surrogate in UTF-8", new Uint8Array([0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x3a, 0x31, 0x7d])],
  ["gzip", new Uint8Array([0x1f, 0x8b, 8, 0, 0, 0, 0, 0])],
  ["UTF-16", new Uint8Array([0xff, 0xfe, 0x7b, 0, 0x7d, 0])],
  ["65 arrays deep", `{"x":${"[".repeat(65)}${"]".repeat(65)}}`],
  ["a million arrays deep", `{"x":${"[".repeat(1_000_000)}`],
  ["a million objects deep", '{"x":'.repeat(1_000_000)]
]

it.live("each body that is no JSON object is a 400", () =>
  Effect.gen(function* () {
    const door = yield* open()
    for (const [what, body] of bodies) {
      const { status, json } = yield* send(`${door.url}/v1/chat/completions`, { method: "POST", body })
      expect([what, status, json?.error?.code]).toEqual([what, 400, "invalid_json"])
      expectError(json, null)
    }
  })
)

it.live("the content type is not looked at, and brackets in strings are no nesting", () =>
  Effect.gen(function* () {
    const door = yield* open()
    const body = { ...hello, user: '[{"\\'.repeat(200) }
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"]) {
      expect((yield* post(`${door.url}/v1/chat/completions`, body, { "content-type": type })).status).toBe(200)
    }
  })
)

it.live("harmless fields are ignored, null is as good as left out", () =>
  Effect.gen(function* () {
    const door = yield* open()
    const nulls = Object.fromEntries(
      [
        "stop",
        "seed",
        "temperature",
        "top_p",
        "logit_bias",
        "max_tokens",
        "tools",
        "n",
        "stream",
        "stream_options",
        "response_format"
      ].map((name) => [name, null])
    )
    const harmless = {
      n: 1,
      tools: [],
      tool_choice: "auto",
      logprobs: false,
      response_format: { type: "text" },
      store: true,
      user: "u",
      metadata: { a: "b" },
      parallel_tool_calls: true,
      service_tier: "auto",
      nonsense: [1, { a: 2 }]
    }
    expect((yield* post(`${door.url}/v1/chat/completions`, { ...hello, ...nulls })).status).toBe(200)
    expect((yield* post(`${door.url}/v1/chat/completions`, { ...hello, ...harmless })).status).toBe(200)
  })
)

const tooLarge = 8 * 1024 * 1024 + 1

/** Writes raw bytes to the door and returns all that comes back until it closes, or until `enough` of it is there. */
const raw = (port: number, pieces: Iterable<string | Uint8Array>, enough: RegExp): Effect.Effect<string> =>
  Effect.async((resume) => {
    let got = ""
    const socket = connect(port, "127.0.0.1")
    const finish = () => {
      socket.destroy()
      resume(Effect.succeed(got))
    }
    socket.on("data", (data) => {
      got += data.toString("latin1")
      if (enough.test(got)) finish()
    })
    socket.on("error", finish)
    socket.on("close", finish)
    const iterator = pieces[Symbol.iterator]()
    const pump = (): void => {
      const next = iterator.next()
      if (next.done || socket.destroyed) return
      if (socket.write(next.value)) setImmediate(pump)
      else socket.once("drain", pump)
    }
    pump()
    return Effect.sync(() => socket.destroy())
  })

it.live("a body above 8 MiB is a 413 with a body, declared or chunked, and is not read to its end", () =>
  Effect.gen(function* () {
    const door = yield* open()
    const declared = yield* post(`${door.url}/v1/chat/completions`, { ...hello, user: "x".repeat(tooLarge) })
    expect([declared.status, declared.json.error.code]).toEqual([413, "request_too_large"])
    let sentBytes = 0
    const endless = function* () {
      yield "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
      for (let piece = 0; piece < 4096; piece++) {
        sentBytes += 65_536
        yield `10000\r\n${"x".repeat(65_536)}\r\n`
      }
    }
    const answer = yield* raw(door.port, endless(), /request_too_large/)
    expect(answer).toMatch(/^HTTP\/1.1 413 /)
    expect(answer).toMatch(/x-request-id: req_/i)
    expect(sentBytes).toBeLessThan(128 * 1024 * 1024)
  })
)

it.live("a body that does not arrive is a 408 after its deadline, declared or chunked", () =>
  Effect.gen(function* () {
    const door = yield* open({ limits: { bodyDeadline: Duration.millis(300) } })
    for (const header of ["content-length: 100", "transfer-encoding: chunked"]) {
      const start = `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n${header}\r\n\r\n`
      const answer = yield* raw(door.port, [start], /request_timeout/)
      expect(answer).toMatch(/^HTTP\/1.1 408 /)
    }
    expect((yield* post(`${door.url}/v1/chat/completions`, hello)).status).toBe(200)
  })
)

it.live("requests that are no HTTP leave the door open", () =>
  Effect.gen(function* () {
    const door = yield* open()
    const junk = [
      "GET / HTTP/9.9\r\n\r\n",
      "\u0000\u0001\u0002\r\n\r\n",
      "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
      "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
      `GET /health HTTP/1.1\r\nhost: x\r\nx: ${"y".repeat(100_000)}\r\n\r\n`,
      "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n"
    ]
    for (const bytes of junk) {
      const answer = yield* Effect.timeoutTo(raw(door.port, [bytes], /\r\n\r\n/), {
        duration: "5 seconds",
        onSuccess: (text) => text,
        onTimeout: () => "silence"
      })
      expect(answer).toMatch(/^$|^HTTP\/1\.1 (4\d\d|505) /)
    }
    expect((yield* send(`${door.url}/health`)).status).toBe(200)
  })
)
