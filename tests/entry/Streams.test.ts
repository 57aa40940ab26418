/**
 * Streamed answers over real sockets: their exact form, failures in the middle, clients that leave, and slow readers.
 */
import { expect } from "bun:test"
import { connect, type Socket } from "node:net"
import { Deferred, Duration, Effect } from "effect"
import { it } from "../support/effect.ts"
import { answering, type Door, hello, open, post } from "./support.ts"

/** Splits a stream into its events. */
const eventsOf = (text: string): ReadonlyArray<string> => text.split("\n\n").filter((event) => event !== "")
const jsonOf = (text: string) =>
  eventsOf(text)
    .filter((event) => event.startsWith("data: {"))
    .map((event) => JSON.parse(event.slice(6)))

const streamed = { ...hello, stream: true }

/** Opens a socket, sends a streaming chat, and collects what comes back. */
const rawStream = (door: Door) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const socket = connect(door.port, "127.0.0.1")
      const body = JSON.stringify(streamed)
      socket.write(
        `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
      )
      const seen = { text: "" }
      socket.on("data", (data) => {
        seen.text += data.toString()
      })
      socket.on("error", () => undefined)
      return { socket, seen }
    }),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )

/** Waits until what came back matches. */
const untilSeen = (socket: Socket, seen: { readonly text: string }, pattern: RegExp): Effect.Effect<void> =>
  Effect.async((resume) => {
    const check = (): void => {
      if (!pattern.test(seen.text)) return
      socket.off("data", check)
      resume(Effect.void)
    }
    socket.on("data", check)
    check()
  })

it.live("a stream is written in the exact form of the OpenAI API", () =>
  Effect.gen(function* () {
    const door = yield* open()
    const { headers, text } = yield* post(`${door.url}/v1/chat/completions`, streamed)
    expect(headers.get("content-type")).toBe("text/event-stream")
    expect(headers.get("cache-control")).toBe("no-cache")
    expect(headers.get("x-weft-served-by")).toBe(answering)
    const chunks = jsonOf(text)
    const shared = {
      id: `chatcmpl-${headers.get("x-request-id")?.slice(4)}`,
      object: "chat.completion.chunk",
      created: chunks[0].created,
      model: "plain",
      system_fingerprint: "fp_abababababab"
    }
    const choice = (delta: object, finish_reason: string | null = null) => ({
      ...shared,
      choices: [{ index: 0, delta, logprobs: null, finish_reason }]
    })
    expect(chunks).toEqual([
      choice({ role: "assistant", content: "", refusal: null }),
      choice({ content: "user:one " }),
      choice({ content: "two " }),
      choice({ content: "three" }),
      choice({}, "stop")
    ])
    expect(eventsOf(text).at(-1)).toBe("data: [DONE]")
    expect(text).not.toContain("usage")
  })
)

it.live("include_usage puts a null in every event and the usage in an extra one before the end", () =>
  Effect.gen(function* () {
    const door = yield* open()
    for (const [path, body] of [
      ["chat/completions", streamed],
      ["completions", { model: "plain", prompt: "one two three", stream: true }]
    ] as const) {
      const { text } = yield* post(`${door.url}/v1/${path}`, { ...body, stream_options: { include_usage: true } })
      const chunks = jsonOf(text)
      const extra = chunks.pop()
      expect(chunks.every((chunk) => chunk.usage === null && chunk.choices.length === 1)).toBe(true)
      expect([extra.choices, extra.usage.prompt_tokens, extra.usage.completion_tokens]).toEqual([[], 3, 3])
      expect(eventsOf(text).at(-1)).toBe("data: [DONE]")
    }
  })
)

it.live("a streamed text completion has its own shape, and any text comes through whole", () =>
  Effect.gen(function* () {
    const door = yield* open()
    const prompt = 'quote " backslash \\ line\nbreak \u2028 emoji 🧵 nul \u0000 end'
    const { text } = yield* post(`${door.url}/v1/completions`, { model: "plain", prompt, stream: true })
    const chunks = jsonOf(text)
    expect(chunks.map((chunk) => chunk.choices[0].text).join("")).toBe(prompt)
    expect(chunks.at(-1).choices).toEqual([{ text: "", index: 0, logprobs: null, finish_reason: "stop" }])
    expect(chunks[0].object).toBe("text_completion")
  })
)

it.live("a failure in the middle is an error event and the end: no finish reason, no [DONE]", () =>
  Effect.gen(function* () {
    const door = yield* open({ answers: "hand" })
    for (const lost of ["Failed", "end of its events"]) {
      const { socket, seen } = yield* rawStream(door)
      const turn = yield* door.turn
      yield* turn.send({ _tag: "Started", promptTokens: 1, seed: 1 }, { _tag: "Delta", text: "so far", tokens: [1] })
      yield* untilSeen(socket, seen, /so far/)
      if (lost === "Failed") yield* turn.send({ _tag: "Failed", failure: { code: "engine_lost", message: "secret" } })
      yield* turn.end
      yield* untilSeen(socket, seen, /\r\n0\r\n\r\n$/)
      const errors = seen.text.match(/data: (\{"error".*\})\n\n/)
      expect(JSON.parse(errors?.[1] ?? "")).toEqual({
        error: { message: expect.any(String), type: "server_error", param: null, code: "engine_lost" }
      })
      expect(seen.text).not.toMatch(/"finish_reason":"|\[DONE\]|secret/)
      yield* turn.closed
    }
  })
)

it.live("a client that leaves ends the answer within a second: streaming, quiet, and before the headers", () =>
  Effect.gen(function* () {
    const door = yield* open({ answers: "hand" })
    const { socket, seen } = yield* rawStream(door)
    const turn = yield* door.turn
    yield* turn.send({ _tag: "Started", promptTokens: 1, seed: 1 }, { _tag: "Delta", text: "so far", tokens: [1] })
    yield* untilSeen(socket, seen, /so far/)
    socket.destroy()
    yield* Effect.timeout(turn.closed, "1 second")

    const early = yield* rawStream(door)
    const second = yield* door.turn
    early.socket.destroy()
    yield* Effect.timeout(second.closed, "1 second")

    const whole = new AbortController()
    const third = yield* Effect.fork(
      Effect.promise(() =>
        fetch(`${door.url}/v1/chat/completions`, {
          method: "POST",
          body: JSON.stringify(hello),
          signal: whole.signal
        }).catch(() => "aborted")
      )
    )
    const thirdTurn = yield* door.turn
    whole.abort()
    yield* Effect.timeout(thirdTurn.closed, "1 second")
    expect(yield* third).toBe("aborted")
  })
)

it.live("headers wait for the first event: quiet then comments keep the stream open, before and between tokens", () =>
  Effect.gen(function* () {
    const door = yield* open({ answers: "hand", limits: { keepAlive: Duration.millis(100) } })
    const { socket, seen } = yield* rawStream(door)
    const turn = yield* door.turn
    yield* untilSeen(socket, seen, /"role":"assistant"/)
    yield* untilSeen(socket, seen, /: keep-alive\n\n[\s\S]*: keep-alive\n\n/)
    yield* turn.send({ _tag: "Delta", text: "late", tokens: [1] })
    yield* untilSeen(socket, seen, /late[\s\S]*: keep-alive/)
    yield* turn.send({
      _tag: "Finished",
      finishReason: "stop",
      usage: { promptTokens: 1, completionTokens: 1, cachedTokens: 0 }
    })
    yield* turn.end
    yield* untilSeen(socket, seen, /\[DONE\]/)
    expect(seen.text).toMatch(/^HTTP\/1.1 200 /)
  })
)

it.live("a reader that takes nothing costs its buffer and then its answer", () =>
  Effect.gen(function* () {
    const door = yield* open({ answers: "hand" })
    const { socket, seen } = yield* rawStream(door)
    const turn = yield* door.turn
    yield* turn.send({ _tag: "Delta", text: "first", tokens: [1] })
    yield* untilSeen(socket, seen, /first/)
    socket.pause()
    const overflow = yield* Deferred.make<void>()
    yield* Effect.forkScoped(Effect.zipRight(turn.closed, Deferred.succeed(overflow, undefined)))
    let sentBytes = 0
    const text = "x".repeat(64 * 1024)
    while (!(yield* Deferred.isDone(overflow)) && sentBytes < 64 * 1024 * 1024) {
      yield* turn.send({ _tag: "Delta", text, tokens: [1] })
      sentBytes += text.length
      yield* Effect.yieldNow()
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
    }
    yield* Effect.timeout(turn.closed, "5 seconds")
    // the kernel's socket buffers take some megabytes before ours fills
    expect(sentBytes).toBeLessThan(32 * 1024 * 1024)
  })
)

it.live("a reader that stalls below the buffer's bound is given up after the stall", () =>
  Effect.gen(function* () {
    const door = yield* open({
      answers: "hand",
      limits: {
        keepAlive: Duration.millis(100),
        streamStall: Duration.millis(400),
        streamBufferBytesMax: 64 * 1024 * 1024
      }
    })
    const { socket, seen } = yield* rawStream(door)
    const turn = yield* door.turn
    yield* turn.send({ _tag: "Delta", text: "first", tokens: [1] })
    yield* untilSeen(socket, seen, /first/)
    socket.pause()
    for (let piece = 0; piece < 24; piece++) {
      yield* turn.send({ _tag: "Delta", text: "x".repeat(1024 * 1024), tokens: [1] })
    }
    yield* Effect.timeout(turn.closed, "10 seconds")
  })
)

it.live("an answer that never ends is cut at its deadline, with the status before headers and an event after", () =>
  Effect.gen(function* () {
    const door = yield* open({ answers: "hand", limits: { answerDeadline: Duration.millis(300) } })
    for (const stream of [false, true]) {
      const { status, json } = yield* post(`${door.url}/v1/chat/completions`, { ...hello, stream })
      expect([status, json.error.code]).toEqual([504, "answer_timeout"])
      yield* (yield* door.turn).closed
    }
    const limits = { answerDeadline: Duration.millis(300), keepAlive: Duration.millis(100) }
    const ticking = yield* open({ answers: "hand", limits })
    const { socket, seen } = yield* rawStream(ticking)
    const turn = yield* ticking.turn
    yield* turn.send({ _tag: "Delta", text: "begun", tokens: [1] })
    yield* untilSeen(socket, seen, /answer_timeout/)
    yield* turn.closed
  })
)

it.live("an answer may be silent longer than an idle connection may stay", () =>
  Effect.gen(function* () {
    const door = yield* open({ answers: "hand", limits: { idle: Duration.seconds(1) } })
    const answer = yield* Effect.fork(post(`${door.url}/v1/chat/completions`, hello))
    const turn = yield* door.turn
    // Bun looks at idle connections every 4 s
    yield* Effect.sleep("6 seconds")
    yield* turn.send(
      { _tag: "Delta", text: "at last", tokens: [1] },
      { _tag: "Finished", finishReason: "stop", usage: { promptTokens: 1, completionTokens: 1, cachedTokens: 0 } }
    )
    expect((yield* answer).json.choices[0].message.content).toBe("at last")
  })
)
