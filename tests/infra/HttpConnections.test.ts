/**
 * The client that measures: it hands on what arrives, tells a whole answer from a cut one, and uses connections again.
 */
import { expect } from "bun:test"
import * as ChatStream from "@weft/infra/bench/http/ChatStream"
import * as HttpConnections from "@weft/infra/bench/http/HttpConnections"
import type { Socket } from "bun"
import { Effect } from "effect"
import { it } from "../support/effect.ts"

/** Serves raw bytes: `respond` gets each request's place and its socket. */
const listen = (respond: (socket: Socket, index: number) => unknown) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      let requests = 0
      let opened = 0
      const server = Bun.listen({
        hostname: "127.0.0.1",
        port: 0,
        socket: { open: () => void opened++, data: (socket) => void respond(socket, requests++) }
      })
      const connections = HttpConnections.make(`http://127.0.0.1:${server.port}`)
      return { server, connections, opened: () => opened }
    }),
    ({ connections, server }) =>
      Effect.sync(() => {
        connections.close()
        server.stop(true)
      })
  )

const post = (connections: HttpConnections.HttpConnections) => {
  let body = ""
  const onBody = (piece: Buffer): void => {
    body += piece.toString()
  }
  const { end } = connections.post({ path: "/", headers: {}, body: "{}", onBody })
  return Effect.map(
    Effect.promise(() => end),
    ({ status, whole }) => ({ status, whole, body })
  )
}

const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

it.live("a chunked body is whole wherever its bytes are cut apart, and its connection is used again", () =>
  Effect.gen(function* () {
    const bytes = `${chunked}5\r\nab\r\nc\r\n1\r\n!\r\n0\r\n\r\n`
    const { connections, opened } = yield* listen(async (socket, index) => {
      for (const piece of [bytes.slice(0, index), bytes.slice(index)]) {
        socket.write(piece)
        socket.flush()
        await Bun.sleep(0)
      }
    })
    for (let cut = 0; cut < bytes.length; cut++) {
      expect(yield* post(connections)).toEqual({ status: 200, whole: true, body: "ab\r\nc!" })
    }
    expect(opened()).toBe(1)
  })
)

it.live("a body of stated length is whole at that length; a connection that closes early cuts it", () =>
  Effect.gen(function* () {
    const { connections } = yield* listen((socket, index) => {
      socket.write("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nab")
      if (index === 0) socket.write("cd")
      else socket.end()
    })
    expect(yield* post(connections)).toEqual({ status: 503, whole: true, body: "abcd" })
    expect(yield* post(connections)).toEqual({ status: 503, whole: false, body: "ab" })
  })
)

it.live("a server that is not there ends the exchange without a status", () =>
  Effect.gen(function* () {
    const { connections, server } = yield* listen(() => undefined)
    server.stop(true)
    expect(yield* post(connections)).toEqual({ status: 0, whole: false, body: "" })
  })
)

const chunkOf = (event: string): string => `${Buffer.byteLength(event).toString(16)}\r\n${event}\r\n`
const text = (content: string): string => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`
const question = { model: "m", messages: [], maxTokens: 4 }

it.live("a stream's text comes piece by piece, with its finish reason and usage", () =>
  Effect.gen(function* () {
    const usage = { prompt_tokens: 3, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 1 } }
    const { connections } = yield* listen((socket) => {
      socket.write(`${chunked}${chunkOf(text("grü"))}${chunkOf(text("ße"))}${chunkOf(": keep-alive\n\n")}`)
      socket.write(chunkOf(`data: ${JSON.stringify({ choices: [{ delta: {}, finish_reason: "stop" }] })}\n\n`))
      socket.write(chunkOf(`data: ${JSON.stringify({ choices: [], usage })}\n\n`))
      socket.write(`${chunkOf("data: [DONE]\n\n")}0\r\n\r\n`)
    })
    const answer = yield* Effect.promise(() => ChatStream.ask(connections, question).answer)
    expect(answer.pieces.map((piece) => piece.text)).toEqual(["grü", "ße"])
    expect(answer).toMatchObject({
      whole: true,
      finishReason: "stop",
      usage: { promptTokens: 3, completionTokens: 2, cachedTokens: 1 }
    })
  })
)

it.live("a stream that ends with an error is not whole, and names it; so is a refusal", () =>
  Effect.gen(function* () {
    const error = JSON.stringify({ error: { code: "engine_lost" } })
    const { connections } = yield* listen((socket, index) =>
      index === 0
        ? socket.write(`${chunked}${chunkOf(text("a"))}${chunkOf(`data: ${error}\n\n`)}0\r\n\r\n`)
        : socket.write(`HTTP/1.1 429 Busy\r\nRetry-After: 2\r\nContent-Length: ${error.length}\r\n\r\n${error}`)
    )
    const ask = Effect.promise(() => ChatStream.ask(connections, question).answer)
    expect(yield* ask).toMatchObject({ whole: false, status: 200, errorCode: "engine_lost" })
    const refused = yield* ask
    expect(refused).toMatchObject({ whole: false, status: 429, errorCode: "engine_lost" })
    expect(refused.headers["retry-after"]).toBe("2")
  })
)
