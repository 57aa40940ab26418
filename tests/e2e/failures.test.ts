/** What goes wrong in a mesh, done to real processes: each ends in a clear error or another peer, nothing is stuck. */
import { expect } from "bun:test"
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

/** Streams the long answer; `begun` completes with its first text, the result is all text or the error. */
const stream = Effect.fnUntraced(function* (url: string) {
  const begun = yield* Deferred.make<void>()
  const abort = new AbortController()
  const answer = yield* Effect.fork(
    Effect.tryPromise({
      try: async () => {
        let text = ""
        let finish: string | null = null
        for await (const chunk of await client(url).chat.completions.create(long, { signal: abort.signal })) {
          text += chunk.choices[0]?.delta.content ?? ""
          finish = chunk.choices[0]?.finish_reason ?? finish
          if (text !== "") Deferred.unsafeDone(begun, Effect.void)
        }
        return { text, finish }
      },
      catch: (error) => error as ApiError
    })
  )
  yield* Effect.raceFirst(Deferred.await(begun), Fiber.join(answer))
  return { abort, answer }
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

it.live("an engine host that is killed fails its answer with a reason, is started again and serves", () =>
  Effect.gen(function* () {
    const { url } = yield* startEntry()
    const peer = yield* startPeer(url)
    const { answer } = yield* stream(url)
    const { models } = yield* statusOf(peer)
    process.kill(models[0]?.processId ?? 0, "SIGKILL")
    const error = yield* Effect.flip(Fiber.join(answer))
    expect(error.message).toMatch(/engine|peer/i)
    const healed = yield* until(Effect.either(ask(url)), (asked) => asked._tag === "Right")
    expect(healed._tag).toBe("Right")
    expect((yield* statusOf(peer)).models[0]?.restarts).toBe(1)
  })
)

it.live("a peer that is killed fails its answer within 3 s; new requests go to the other one, then get a 503", () =>
  Effect.gen(function* () {
    const { url } = yield* startEntry()
    const first = yield* startPeer(url)
    const { answer } = yield* stream(url)
    yield* startPeer(url)
    yield* first.process.kill("SIGKILL")
    const error = yield* Effect.flip(Fiber.join(answer)).pipe(Effect.timeout("3 seconds"))
    expect(error.code).toBe("engine_lost")
    expect((yield* ask(url)).choices[0]?.message.content).toBe("7 plus 5 is 12.")
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
