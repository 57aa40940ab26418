/** The status over HTTP: public, cached, safe to frame nowhere, fed as events, and small enough for a slow line. */
import { expect } from "bun:test"
import * as ApiKeys from "@weft/entry/ApiKeys"
import { History, StatusDocument } from "@weft/entry/status/StatusDocument"
import { watchersMax } from "@weft/entry/status/StatusFeed"
import { statusOf } from "@weft/entry/status/StatusModel"
import { Effect, Either, Exit, Schema, Scope } from "effect"
import { it } from "../../support/effect.ts"
import { open, send } from "../support.ts"
import { busyMesh, directoryOf, model, peer } from "./busyMesh.ts"

/** Most bytes of script that the page may cost, compressed. */
const scriptBytesMax = 60 * 1024

const keys = Either.getOrThrow(ApiKeys.parseList("alice:a-long-secret-of-alice"))

it.live("the document is told to anybody, also where answers need a key, and keeps its schema", () =>
  Effect.gen(function* () {
    const { url } = yield* open({ config: { apiKeys: keys }, status: Effect.succeed(statusOf(busyMesh)) })
    const { headers, json, status } = yield* send(`${url}/api/status`)
    expect(status).toBe(200)
    expect(headers.get("cache-control")).toBe("public, max-age=1")
    expect(Schema.decodeUnknownSync(StatusDocument)(json)).toEqual(statusOf(busyMesh))
  })
)

it.live("history is told for a day, a week and all that is kept; other lengths are refused with what there is", () =>
  Effect.gen(function* () {
    const { url } = yield* open()
    for (const hours of [24, 168, 840]) {
      const { json } = yield* send(`${url}/api/status/history?hours=${hours}`)
      expect(Schema.decodeUnknownSync(History)(json).hours).toBe(hours)
    }
    const refused = yield* send(`${url}/api/status/history?hours=25`)
    expect(refused.status).toBe(400)
    expect(refused.json.error).toMatchObject({ param: "hours", message: "hours must be one of 24, 168, 840." })
  })
)

it.live("the page has its figures without a script, and lets nothing in from elsewhere", () =>
  Effect.gen(function* () {
    const { url } = yield* open({ status: Effect.succeed(statusOf(busyMesh)) })
    const { headers, text } = yield* send(`${url}/status`, { headers: { cookie: "a=b; weft-theme=dark" } })
    expect(headers.get("content-type")).toBe("text/html; charset=utf-8")
    expect(headers.get("content-security-policy")).toStartWith("default-src 'self';")
    expect(text).toContain('<html lang="en" data-theme="dark">')
    const content = text.slice(0, text.indexOf('<script id="status"'))
    for (const shown of ["qwen3-4b", "39.6", "96", "6 peers serve 5 models", "58–79"]) expect(content).toContain(shown)
    expect(text).not.toMatch(
      / style=|<style|<script(?! (id="status" type="application\/json"|type="module" src="\/assets))/
    )
    const odd = yield* send(`${url}/status`, { headers: { cookie: 'weft-theme="><script>' } })
    expect(odd.text).toContain('<html lang="en">')
  })
)

it.live("names that peers and clients choose stay text", () =>
  Effect.gen(function* () {
    const evil = '</script><img src=x onerror="alert(1)">'
    const directory = directoryOf([peer(1, evil, [model(evil)])])
    const { url } = yield* open({ status: Effect.succeed(statusOf({ ...busyMesh, directory })) })
    const { text } = yield* send(`${url}/status`, { headers: { host: 'x"><img>' } })
    expect(text).not.toContain("<img")
    expect(text.split("</script>")).toHaveLength(3)
  })
)

it.live("script and stylesheet stand under names of their content, compressed where that is understood", () =>
  Effect.gen(function* () {
    const { url } = yield* open()
    const { text } = yield* send(`${url}/status`)
    const script = /src="(\/assets\/status-\w+\.js)"/.exec(text)?.[1] ?? ""
    const plain = yield* send(`${url}${script}`, { headers: { "accept-encoding": "identity" } })
    expect(plain.headers.get("cache-control")).toContain("immutable")
    const chunks = [...plain.text.matchAll(/"\.\/([\w.-]+\.js)"/g)].map(([, name]) => `/assets/${name}`)
    expect(chunks.length).toBeGreaterThan(0)
    let bytes = 0
    for (const path of new Set([script, ...chunks])) {
      const sent = yield* Effect.promise(() =>
        fetch(`${url}${path}`, { decompress: false, headers: { "accept-encoding": "gzip" } })
      )
      expect(sent.headers.get("content-encoding")).toBe("gzip")
      bytes += (yield* Effect.promise(() => sent.arrayBuffer())).byteLength
    }
    expect(bytes).toBeLessThan(scriptBytesMax)
    expect((yield* send(`${url}/assets/..%2f..%2fpackage.json`)).status).toBe(404)
  })
)

/** Opens the stream and returns its response with a reader of its text. */
const listen = (url: string) =>
  Effect.promise(async () => {
    const response = await fetch(`${url}/api/status/stream`)
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
    return { response, read: () => Effect.promise(async () => (await reader?.read()) ?? { done: true }) }
  })

it.live("the stream is one of events, and ends when the server stops", () =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const { url } = yield* Scope.extend(open(), scope)
    const { read, response } = yield* listen(url)
    expect(response.headers.get("content-type")).toBe("text/event-stream")
    const first = yield* read()
    expect(String("value" in first ? first.value : "")).toStartWith("retry: 2000\nevent: status\ndata: {")
    yield* Scope.close(scope, Exit.void)
    let last = yield* read()
    while (!last.done) last = yield* read()
  })
)

/** Watches over a connection of its own, as `fetch` has fewer than may watch; returns what closes it. */
const watch = (port: number) =>
  Effect.promise(
    () =>
      new Promise<() => void>((resolve, reject) => {
        void Bun.connect({
          hostname: "127.0.0.1",
          port,
          socket: {
            open: (socket) => void socket.write("GET /api/status/stream HTTP/1.1\r\nhost: entry\r\n\r\n"),
            data: (socket, bytes) => {
              if (bytes.includes("event: status")) resolve(() => socket.terminate())
            },
            error: (_, error) => reject(error)
          }
        })
      })
  )

it.live("beyond the bound watchers get a 503 with a time to come again, and places of those who left are free", () =>
  Effect.gen(function* () {
    const { port, url } = yield* open()
    const watchers = yield* Effect.replicateEffect(watch(port), watchersMax)
    const refused = yield* send(`${url}/api/status/stream`)
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "5"])
    expect(refused.json.error.code).toBe("too_many_watchers")
    for (const leave of watchers) leave()
    yield* Effect.eventually(
      Effect.flatMap(listen(url), ({ response }) => (response.status === 200 ? Effect.void : Effect.fail("full")))
    )
  })
)
