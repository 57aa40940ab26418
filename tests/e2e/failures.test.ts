/** What goes wrong in a mesh, done to real processes: each ends in a clear error or another peer, nothing is stuck. */
import { expect } from "bun:test"
import { connect } from "node:net"
import { Deferred, type Duration, Effect, Fiber, Schedule } from "effect"
import OpenAI from "openai"
import { it } from "../support/effect.ts"
import { directory, start, startEntry, startPeer } from "../support/processes.ts"

const model = "tiny-small-f16"
/** Forbids the token that ends an answer, so that it runs to the end of the context (about 500 tokens). */
const endless = { logit_bias: { 2: -100 }, temperature: 0 } as const
const long: OpenAI.ChatCompletionCreateParamsStreaming = {
  model,
  messages: [{ role: "user", content: "Tell me a story about a fox." }],
  stream: true,
  ...endless
}

const client = (url: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0 })
type ApiError = InstanceType<typeof OpenAI.APIError>

const ask = (url: string) =>
  Effect.tryPromise({
    try: () =>
      client(url).chat.completions.create({
        model,
        messages: [{ role: "user", content: "What is 7 plus 5?" }],
        temperature: 0
      }),
    catch: (error) => error as ApiError
  })

/** Streams the long answer; returns with its first text, who serves it, and the fiber of all its text or its error. */
const stream = Effect.fnUntraced(function* (url: string) {
  const begun = yield* Deferred.make<void>()
  const abort = new AbortController()
  let servedBy: string | null = null
  const answer = yield* Effect.fork(
    Effect.tryPromise({
      try: async () => {
        const created = await client(url).chat.completions.create(long, { signal: abort.signal }).withResponse()
        servedBy = created.response.headers.get("x-weft-served-by")
        let text = ""
        let finish: string | null = null
        for await (const chunk of created.data) {
          text += chunk.choices[0]?.delta.content ?? ""
          finish = chunk.choices[0]?.finish_reason ?? finish
          if (text !== "") Deferred.unsafeDone(begun, Effect.void)
        }
        return { text, finish }
      },
      // The client throws nothing else but its own error here.
      catch: (error) => error as ApiError
    })
  )
  yield* Effect.raceFirst(Deferred.await(begun), Fiber.join(answer))
  return { abort, answer, servedBy: () => servedBy }
})

interface Status {
  readonly state: string
  readonly answers: { readonly active: number; readonly finished: number; readonly cancelled: number }
  readonly models: ReadonlyArray<{ readonly active: number; readonly restarts: number; readonly processId: number }>
}

const json = <A>(url: string) => Effect.promise(async () => (await (await fetch(url)).json()) as A)
const statusOf = (peer: { readonly event: (name: string) => Effect.Effect<Record<string, unknown>> }) =>
  Effect.flatMap(peer.event("listening"), ({ url }) => json<Status>(`${url}/status`))
const metric = (url: string, line: RegExp) =>
  Effect.promise(async () => Number(line.exec(await (await fetch(`${url}/metrics`)).text())?.[1] ?? 0))

/** Looks every 20 ms until `holds`, for at most `within`. */
const until = <A, E>(
  look: Effect.Effect<A, E>,
  holds: (value: A) => boolean,
  within: Duration.DurationInput = "10 seconds"
) =>
  look.pipe(
    Effect.filterOrFail(holds, (value) => new Error(`still ${JSON.stringify(value)}`)),
    Effect.retry(Schedule.spaced("20 millis")),
    Effect.timeoutFail({ duration: within, onTimeout: () => new Error("did not happen in time") })
  )
const modelsOf = (url: string) =>
  Effect.map(json<{ data: ReadonlyArray<unknown> }>(`${url}/v1/models`), ({ data }) => data.length)

it.live("a client that leaves frees the peer's slot within a second, and no more tokens are computed", () =>
  Effect.gen(function* () {
    const { url } = yield* startEntry()
    const peer = yield* startPeer(url)
    const page = String((yield* peer.event("listening"))["url"])
    const computed = metric(page, /weft_engine_tokens_total\{[^}]*kind="completion"[^}]*\} (\d+)/)
    const { abort } = yield* stream(url)
    abort.abort()
    const freed = yield* until(statusOf(peer), ({ models }) => models[0]?.active === 0, "1 second")
    expect(freed.answers).toMatchObject({ active: 0, finished: 0 })
    const tokens = yield* computed
    expect(tokens).toBeLessThan(450)
    yield* ask(url)
    expect(yield* computed).toBe(tokens + 6)
  })
)

it.live("a client that reads nothing for a while holds nobody up, and has its whole answer afterwards", () =>
  Effect.gen(function* () {
    const { url } = yield* startEntry()
    const peer = yield* startPeer(url)
    const { port } = new URL(url)
    const body = JSON.stringify(long)
    const received = { text: "", goesOn: false }
    const socket = yield* Effect.acquireRelease(
      Effect.sync(() => connect(Number(port), "127.0.0.1")),
      (socket) => Effect.sync(() => socket.destroy())
    )
    socket.on("data", (bytes) => {
      received.text += bytes.toString()
      // It reads the first piece alone until it is told to go on.
      if (received.text.includes('"content"') && !received.goesOn) socket.pause()
    })
    const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n`
    socket.write(head + body)
    yield* until(
      Effect.sync(() => received.text),
      (text) => text.includes('"content"')
    )
    const { finish, text } = yield* Effect.flatMap(stream(url), ({ answer }) => Fiber.join(answer))
    expect(finish).toBe("length")
    yield* until(statusOf(peer), ({ answers }) => answers.finished === 2)
    expect(received.text).not.toContain("[DONE]")
    received.goesOn = true
    socket.resume()
    const all = yield* until(
      Effect.sync(() => received.text),
      (text) => text.includes("[DONE]")
    )
    const pieces = all.matchAll(/^data: (\{.*\})$/gm)
    const read = [...pieces].map(([, json]) => JSON.parse(json ?? "").choices[0]?.delta.content ?? "").join("")
    expect(read).toBe(text)
  })
)

/** The long answer as it is when nothing goes wrong. */
const uninterrupted = (url: string) => Effect.flatMap(stream(url), ({ answer }) => Fiber.join(answer))

it.live("an engine host that is killed is started again, and its answer goes on as if nothing had been", () =>
  Effect.gen(function* () {
    const { url } = yield* startEntry()
    const peer = yield* startPeer(url)
    const whole = yield* uninterrupted(url)
    const { answer } = yield* stream(url)
    const { models } = yield* statusOf(peer)
    process.kill(models[0]?.processId ?? 0, "SIGKILL")
    expect(yield* Fiber.join(answer)).toEqual(whole)
    expect((yield* statusOf(peer)).models[0]?.restarts).toBe(1)
    expect(yield* metric(url, /weft_route_failovers_total\{kind="failover"\} (\d+)/)).toBe(1)
  })
)

it.live("the answer of a peer that is killed goes on at another one: nothing lost, nothing twice", () =>
  Effect.gen(function* () {
    const { url } = yield* startEntry()
    const peers = yield* Effect.forEach([1, 2, 3], () => startPeer(url), { concurrency: 3 })
    const whole = yield* uninterrupted(url)
    const { answer, servedBy } = yield* stream(url)
    const serving = peers.find((peer) => peer.id === servedBy())
    yield* Effect.fork(serving?.process.kill("SIGKILL") ?? Effect.die("nobody serves"))
    expect(yield* Fiber.join(answer)).toEqual(whole)
    expect(yield* metric(url, /weft_route_failovers_total\{kind="failover"\} (\d+)/)).toBe(1)
  })
)

it.live("with no peer left a cut answer ends in an error, and new requests get a 503", () =>
  Effect.gen(function* () {
    const { url } = yield* startEntry()
    const peer = yield* startPeer(url)
    const { answer } = yield* stream(url)
    yield* peer.process.kill("SIGKILL")
    const error = yield* Effect.flip(Fiber.join(answer))
    expect(error.code).toBe("engine_lost")
    const gone = yield* Effect.flip(ask(url))
    expect([gone.status, gone.headers?.get("retry-after")]).toEqual([503, "5"])
  })
)

it.live("a peer told to stop finishes its answer, leaves the directory and exits with 0", () =>
  Effect.gen(function* () {
    const { url } = yield* startEntry()
    const peer = yield* startPeer(url)
    const { answer } = yield* stream(url)
    yield* Effect.fork(peer.process.kill("SIGTERM"))
    yield* peer.event("leaving")
    const refused = yield* until(Effect.either(ask(url)), (asked) => asked._tag === "Left")
    expect(refused._tag === "Left" && refused.left.status).toBe(503)
    const whole = yield* Fiber.join(answer)
    expect(whole.finish).toBe("length")
    expect(Number(yield* peer.process.exitCode)).toBe(0)
    yield* until(modelsOf(url), (count) => count === 0, "2 seconds")
    const gone = yield* Effect.flip(ask(url))
    expect([gone.status, gone.headers?.get("retry-after")]).toEqual([503, "5"])
  })
)

it.live(
  "peers come back by themselves when their entry is started again",
  () =>
    Effect.gen(function* () {
      const dataDirectory = yield* directory
      const first = yield* startEntry({ WEFT_DATA_DIR: dataDirectory })
      yield* startPeer(first.url)
      const ports = { WEFT_HTTP_PORT: new URL(first.url).port, WEFT_MESH_PORT: new URL(first.mesh).port }
      yield* first.process.kill("SIGKILL")
      const second = yield* startEntry({ WEFT_DATA_DIR: dataDirectory, ...ports })
      expect(second.peerId).toBe(first.peerId)
      yield* until(modelsOf(second.url), (count) => count === 1, "15 seconds")
      expect((yield* ask(second.url)).choices[0]?.message.content).toBe("7 plus 5 is 12.")
    }),
  40_000
)

it.live("a peer whose network lets no UDP through comes in over WebTransport", () =>
  Effect.gen(function* () {
    const { url } = yield* startEntry()
    const description = yield* json<{ readonly meshAddresses: ReadonlyArray<string> }>(`${url}/.well-known/weft`)
    const meshAddresses = description.meshAddresses.map((address) =>
      address.startsWith("quic:") ? "quic://127.0.0.1:9" : address
    )
    // Says of the entry what it says itself, but for a UDP address where nobody listens.
    const narrow = yield* Effect.acquireRelease(
      Effect.sync(() =>
        Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => Response.json({ ...description, meshAddresses }) })
      ),
      (server) => Effect.promise(() => server.stop(true))
    )
    const peer = yield* startPeer(`http://127.0.0.1:${narrow.port}`)
    expect((yield* ask(url)).choices[0]?.message.content).toBe("7 plus 5 is 12.")
    expect(yield* metric(url, /weft_quic_sessions\{layer="webtransport",direction="accepted"\} (\d+)/)).toBe(1)
    yield* Effect.fork(peer.process.kill("SIGTERM"))
    expect(Number(yield* peer.process.exitCode)).toBe(0)
  })
)

it.live("an entry whose data directory cannot be written refuses to start and says why", () =>
  Effect.gen(function* () {
    const entry = yield* start(["run", "apps/entry/src/main.ts"], {
      WEFT_HTTP_PORT: "0",
      WEFT_MESH_PORT: "0",
      WEFT_DATA_DIR: "/dev/null/weft"
    })
    expect(Number(yield* entry.process.exitCode)).toBe(1)
    yield* until(entry.printed, (text) => text.includes("/dev/null/weft"))
  })
)
