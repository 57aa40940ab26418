/** A real second HTTP server as the provider: its answers look as ours, what it does wrong costs nothing but time. */
import { expect } from "bun:test"
import { Duration, Effect } from "effect"
import { counted } from "../../mesh/links.ts"
import { it } from "../../support/effect.ts"
import { booked, hello, open, answering as peer, post } from "../support.ts"
import { answering, gated, slow, tiers, weftHeaders } from "./gated.ts"
import { type Behaviour, chunk, say, startCutting, streaming, usual } from "./provider.ts"

it.live(
  "the provider gets the client's own body with its own name of the model, the key, and a wish for a stream",
  () =>
    Effect.gen(function* () {
      const { chat, door, provider } = yield* gated(answering)
      yield* post(chat, { ...hello, temperature: 0.25, stop: ["x"], user: "u" })
      yield* post(`${door.url}/v1/completions`, { model: "plain", prompt: "one" })
      const asked = { model: "their-model", stream: true, stream_options: { include_usage: true } }
      expect(provider.asked).toEqual([
        {
          path: "/base/v1/chat/completions",
          authorization: "Bearer provider-key",
          body: { ...hello, temperature: 0.25, stop: ["x"], user: "u", ...asked }
        },
        { path: "/base/v1/completions", authorization: "Bearer provider-key", body: { prompt: "one", ...asked } }
      ])
    })
)

it.live(
  "an answer of the provider looks as one of the mesh: our ids, our model's name, the usage where it was asked",
  () =>
    Effect.gen(function* () {
      const { chat, door } = yield* gated(answering)
      const whole = yield* post(chat, hello)
      const id = (headers: Headers) => `chatcmpl-${headers.get("x-request-id")?.slice(4)}`
      const usage = { prompt_tokens: 11, completion_tokens: 5, total_tokens: 16 }
      expect(whole.json).toMatchObject({
        id: id(whole.headers),
        model: "plain",
        system_fingerprint: null,
        choices: [{ message: { role: "assistant", content: "Hello from afar" }, finish_reason: "stop" }],
        usage: { ...usage, prompt_tokens_details: { cached_tokens: 3 } }
      })
      const mesh = yield* open({ config: { tiers } })
      const shape = (text: string) =>
        text
          .split("\n\n")
          .filter((event) => event.startsWith("data: {"))
          .map((event) => Object.keys(JSON.parse(event.slice(6))).join())
      for (const include_usage of [false, true]) {
        const body = { ...hello, stream: true, stream_options: { include_usage } }
        const { headers, text } = yield* post(chat, body)
        expect(text.includes("theirs")).toBe(false)
        expect(text.match(/"id":"([^"]+)"/)?.[1]).toBe(id(headers))
        expect(text.includes('"usage":{"prompt_tokens":11')).toBe(include_usage)
        expect(text.endsWith("data: [DONE]\n\n")).toBe(true)
        const ours = yield* post(`${mesh.url}/v1/chat/completions`, body)
        expect(new Set(shape(text))).toEqual(new Set(shape(ours.text)))
      }
      const noUsage = yield* gated(() => () => streaming([say("a"), say("b"), usual[3] ?? ""]))
      const { json } = yield* post(noUsage.chat, hello)
      expect(json.usage).toMatchObject({ prompt_tokens: 4, completion_tokens: 2 })
      yield* post(`${door.url}/v1/completions`, { model: "plain", prompt: "one" })
    })
)

/** A door with short waits, in which what the provider does wrong is seen within a second. */
const hasty = {
  firstByte: Duration.millis(300),
  idle: Duration.millis(600),
  usage: Duration.millis(100),
  answerBytesMax: 64 * 1024,
  eventCharactersMax: 8 * 1024
}

const filler = chunk({ index: 0, delta: { reasoning_content: "hm" }, finish_reason: null })
const failing: Readonly<Record<string, (left: () => void) => Behaviour>> = {
  "401": () => () => Response.json({ error: { message: "provider-key is wrong" } }, { status: 401 }),
  "429": () => () => Response.json({}, { status: 429 }),
  "500": () => () => new Response("oops", { status: 500 }),
  redirect: () => () => Response.redirect("http://127.0.0.1:9/elsewhere"),
  "hang before the headers": () => () => new Promise(() => {}),
  "hang before the first byte": (left) => () => streaming([undefined], left),
  "hang before the first text": (left) => () => streaming([usual[0], undefined], left),
  "comments for ever": () => () => streaming(Array(100_000).fill(": busy\n\n")),
  "other fields for ever": () => () => streaming(Array(100_000).fill(filler)),
  "no stream": () => () => Response.json({ choices: [{ message: { content: "whole" } }] }),
  "a web page": () => () => new Response("<html>data: hello</html>"),
  "JSON that is none": () => () => streaming(["data: {\n\n"]),
  "bytes that are no text": () => () => streaming([new Uint8Array([0x64, 0xff, 0xfe, 0x0a])]),
  "several choices": () => () => streaming([chunk({ index: 1, delta: { content: "b" } })]),
  "text that is none": () => () => streaming([chunk({ index: 0, delta: { content: { a: 1 } } })]),
  "a call of a tool": () => () => streaming([chunk({ index: 0, delta: {}, finish_reason: "tool_calls" })]),
  "an error in the stream": () => () => streaming([`data: {"error":{"message":"no"}}\n\n`]),
  "an event without end": () => () => streaming(["data: ", ...Array(100).fill("x".repeat(1_000))]),
  "an empty answer": () => () =>
    streaming(usual.filter((event) => !event.includes("Hello") && !event.includes("afar"))),
  "an empty stream": () => () => streaming([])
}

it.live(
  "whatever the provider does wrong before its first text, the mesh answers, once, and says so",
  () =>
    Effect.gen(function* () {
      for (const [what, behaviour] of Object.entries(failing)) {
        const { chat, door } = yield* gated(behaviour, { fallbackLimits: hasty })
        for (const stream of [false, true]) {
          const { headers, status, text } = yield* post(chat, { ...hello, stream })
          expect([what, status]).toEqual([what, 200])
          expect([what, weftHeaders(headers)]).toEqual([
            what,
            expect.objectContaining({
              "fallback-status": "failed",
              "served-by": peer,
              route: "mesh:solo",
              "sla-status": "both-too-low"
            })
          ])
          expect([what, text.includes("three"), text.includes("provider-key")]).toEqual([what, true, false])
          if (stream) expect([what, text.endsWith("data: [DONE]\n\n")]).toEqual([what, true])
        }
        const { day } = yield* door.share.summary
        expect([what, day]).toEqual([what, expect.objectContaining({ requests: 2, mesh: 2, fallback: 0, refused: 0 })])
      }
    }),
  60_000
)

it.live("the time that a provider wasted, or took, is never measured of a peer", () =>
  Effect.gen(function* () {
    const behaviours = { failed: failing["hang before the first text"], served: answering, tier: answering }
    for (const [what, behaviour] of Object.entries(behaviours)) {
      if (behaviour === undefined) throw new Error(`no behaviour for ${what}`)
      const changes = what === "tier" ? { tiers: new Set() } : {}
      const { chat, door } = yield* gated(behaviour, { fallbackLimits: hasty }, changes)
      expect((yield* post(chat, hello)).status).toBe(200)
      const samples = door.performance.ofModel("plain", "solo")?.samples ?? 0
      expect([what, samples]).toEqual([what, what === "tier" ? 1 : 0])
    }
  })
)

it.live("an entry whose provider cannot be reached answers from the mesh, or as the mesh does", () =>
  Effect.gen(function* () {
    const { chat } = yield* gated(answering, {}, { url: "http://127.0.0.1:1/v1", hasAllModels: true })
    const answer = yield* post(chat, hello)
    expect([answer.status, answer.headers.get("x-weft-fallback-status")]).toEqual([200, "failed"])
    const refused = yield* post(chat, { ...hello, model: "busy" })
    expect([refused.status, refused.json.error.code]).toEqual([503, "overloaded"])
    expect(weftHeaders(refused.headers)).toMatchObject({ "fallback-status": "failed", "served-by": "none" })
  })
)

const begun = [...usual.slice(0, 1), say("Hello "), say("from ")]
const failingLate: Readonly<Record<string, ReadonlyArray<string | undefined>>> = {
  "ended too soon": [],
  hang: [undefined],
  garbage: ["data: garbage\n\n"],
  "an error": [`data: {"error":{"message":"secret insides"}}\n\n`],
  huge: Array(1_000).fill(say("x".repeat(1_000)))
}

it.live(
  "a provider that fails behind its first text ends the answer with an error, and nothing is asked again",
  () =>
    Effect.gen(function* () {
      for (const [what, rest] of Object.entries(failingLate)) {
        const gate = Promise.withResolvers<string>()
        const behaviour = () => () => streaming([...begun, gate.promise, ...rest])
        const { chat, door } = yield* gated(behaviour, { fallbackLimits: hasty })
        const response = yield* Effect.promise(() =>
          fetch(chat, { method: "POST", body: JSON.stringify({ ...hello, stream: true }) })
        )
        // its headers wait for the first text
        expect([what, response.status, weftHeaders(response.headers)]).toEqual([
          what,
          200,
          expect.objectContaining({ "served-by": "fallback", "fallback-status": "served" })
        ])
        gate.resolve(": on\n\n")
        const text = yield* Effect.promise(() => response.text())
        yield* booked
        expect([what, text.includes('"content":"Hello "'), text.includes("[DONE]")]).toEqual([what, true, false])
        const last = text.trimEnd().split("\n\n").at(-1)
        expect([what, JSON.parse(last?.slice("data: ".length) ?? "").error]).toEqual([
          what,
          {
            message: "The provider that stands in for the mesh failed while it answered. Retry.",
            type: "server_error",
            code: "fallback_failed",
            param: null
          }
        ])
        const { day } = yield* door.share.summary
        expect([what, day]).toEqual([what, expect.objectContaining({ requests: 1, refused: 1, mesh: 0, fallback: 0 })])
      }
    }),
  60_000
)

it.live("a whole answer whose provider falls silent within it is an error with the provider's status", () =>
  Effect.gen(function* () {
    const { chat } = yield* gated((left) => () => streaming([...begun, undefined], left), { fallbackLimits: hasty })
    const { headers, json, status } = yield* post(chat, hello)
    expect([status, json.error.code]).toEqual([502, "fallback_failed"])
    expect(weftHeaders(headers)).toMatchObject({ "served-by": "fallback", "fallback-status": "served" })
  })
)

it.live("a connection that is cut behind the first text ends the stream with an error", () =>
  Effect.gen(function* () {
    const provider = yield* startCutting(begun)
    const door = yield* open({ measured: () => slow, config: { tiers, ...provider.config() } })
    const response = yield* Effect.promise(() =>
      fetch(`${door.url}/v1/chat/completions`, { method: "POST", body: JSON.stringify({ ...hello, stream: true }) })
    )
    // its headers wait for the first text
    expect(response.headers.get("x-weft-fallback-status")).toBe("served")
    yield* provider.cut
    const text = yield* Effect.promise(() => response.text())
    expect(text).toContain('"content":"Hello "')
    expect(text).toContain('"code":"fallback_failed"')
    expect(text).not.toContain("[DONE]")
  })
)

it.live("a provider that is slow, but talks, is listened to; text that is whole needs no usage", () =>
  Effect.gen(function* () {
    const slowly = () => () => {
      const stream = streaming(usual).body
      const paced = stream?.pipeThrough(
        new TransformStream({
          transform: async (piece, controller) => {
            await Bun.sleep(250)
            controller.enqueue(piece)
          }
        })
      )
      return new Response(paced)
    }
    // longer in all than any of its waits may be
    const { chat } = yield* gated(slowly, { fallbackLimits: { ...hasty, usage: Duration.seconds(5) } })
    const answer = yield* post(chat, { ...hello, stream: true })
    expect(answer.headers.get("x-weft-fallback-status")).toBe("served")
    expect(answer.text).toContain("from afar")
    const silent = yield* gated((left) => () => streaming([...usual.slice(0, 4), undefined], left), {
      fallbackLimits: hasty
    })
    expect((yield* post(silent.chat, hello)).json.choices[0].message.content).toBe("Hello from afar")
  })
)

it.live("text arrives as the provider gives it, pieces of characters and of events put together", () =>
  Effect.gen(function* () {
    const bytes = new TextEncoder().encode([say("größe 🦊 "), say('\u0000\n"ok"'), ...usual.slice(3)].join(""))
    for (const size of [1, 7, bytes.length]) {
      const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) =>
        bytes.slice(at * size, (at + 1) * size)
      )
      const { chat } = yield* gated(() => () => streaming(pieces))
      const { json } = yield* post(chat, hello)
      expect(json.choices[0].message.content).toBe('größe 🦊 \u0000\n"ok"')
    }
  })
)

it.live("a client that leaves ends the answer of the provider too", () =>
  Effect.gen(function* () {
    const { chat, provider } = yield* gated((left) => () => streaming([...begun, undefined], left))
    const before = yield* counted("weft_fallback_total", { result: "left" })
    const controller = new AbortController()
    yield* Effect.promise(async () => {
      const response = await fetch(chat, {
        method: "POST",
        body: JSON.stringify({ ...hello, stream: true }),
        signal: controller.signal
      })
      await response.body?.getReader().read()
      controller.abort()
    })
    yield* Effect.timeout(provider.left, "5 seconds")
    expect((yield* counted("weft_fallback_total", { result: "left" })) - before).toBe(1)
  })
)
