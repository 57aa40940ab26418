/**
 * The mesh on one machine: an entry and three peers that serve the bundled tiny model, one question answered on the
 * terminal, and then a door for any OpenAI client until Ctrl-C. Everything runs as it would on four machines.
 */

import { FetchHttpClient } from "@effect/platform"
import * as Command from "@effect/platform/Command"
import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClient from "@effect/platform/HttpClient"
import * as BunContext from "@effect/platform-bun/BunContext"
import * as BunRuntime from "@effect/platform-bun/BunRuntime"
import { Config, Console, Data, Effect, Layer, Logger, Schedule, Schema, Stream } from "effect"

/** Represents a demo that could not start; the message says what to do. */
class DemoFailed extends Data.TaggedError("DemoFailed")<{ readonly message: string }> {}

const root = new URL("../../", import.meta.url).pathname
const model = `${root}packages/engine/models/tiny-small-f16.gguf`
const peers = ["ada", "ben", "cora"]
const question = "What is 7 plus 5?"

const settings = Config.all({
  httpPort: Config.port("WEFT_HTTP_PORT").pipe(Config.withDefault(8080)),
  meshPort: Config.port("WEFT_MESH_PORT").pipe(Config.withDefault(8443)),
  dataDirectory: Config.string("WEFT_DATA_DIR").pipe(Config.withDefault(`${root}.weft/demo`))
})

/** Starts `bun ARGS` and prints its lines behind `name`; the demo fails when it ends. */
const start = Effect.fn("demo.start")(function* (
  name: string,
  args: ReadonlyArray<string>,
  environment: Record<string, string>
) {
  const child = yield* Command.make(process.execPath, ...args).pipe(
    Command.workingDirectory(root),
    Command.env(environment),
    Command.stderr("inherit"),
    Command.start
  )
  yield* child.stdout.pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.runForEach((line) => Console.log(`${name.padEnd(6)} ${line}`)),
    Effect.forkScoped
  )
  return Effect.flatMap(child.exitCode, (code) =>
    Effect.fail(new DemoFailed({ message: `the ${name} ended with code ${code}; its last lines say why` }))
  )
})

const Health = Schema.Struct({ peers: Schema.Number })

/** Waits until the entry answers and every peer has registered. */
const ready = (url: string) =>
  HttpClient.get(`${url}/health`).pipe(
    Effect.flatMap((response) => response.json),
    Effect.flatMap(Schema.decodeUnknown(Health)),
    Effect.filterOrFail(
      (health) => health.peers >= peers.length,
      (health) => new DemoFailed({ message: `${health.peers} of ${peers.length} peers are here` })
    ),
    Effect.retry(Schedule.spaced("100 millis")),
    Effect.timeoutFail({
      duration: "60 seconds",
      onTimeout: () => new DemoFailed({ message: "the mesh was not ready within 60 seconds; the lines above say why" })
    })
  )

const Answer = Schema.Struct({
  choices: Schema.NonEmptyArray(Schema.Struct({ message: Schema.Struct({ content: Schema.String }) }))
})

/** Asks the mesh as any OpenAI client would. */
const ask = Effect.fn("demo.ask")(function* (url: string) {
  const response = yield* HttpClient.post(`${url}/v1/chat/completions`, {
    body: HttpBody.unsafeJson({
      model: "tiny-small-f16",
      messages: [{ role: "user", content: question }],
      temperature: 0
    })
  })
  const answer = yield* Effect.flatMap(response.json, Schema.decodeUnknown(Answer))
  return { text: answer.choices[0].message.content, servedBy: response.headers["x-weft-served-by"] ?? "unknown" }
})

const demo = Effect.gen(function* () {
  const { dataDirectory, httpPort, meshPort } = yield* settings
  const url = `http://127.0.0.1:${httpPort}`
  const entryEnded = yield* start("entry", ["run", "apps/entry/src/main.ts"], {
    WEFT_HTTP_PORT: String(httpPort),
    WEFT_MESH_PORT: String(meshPort),
    WEFT_DATA_DIR: `${dataDirectory}/entry`
  })
  const peersEnded = yield* Effect.forEach(peers, (name) =>
    start(name, ["run", "apps/peer/src/main.ts", "up", "--entry", url, "--model", model, "--name", name], {
      WEFT_DATA_DIR: `${dataDirectory}/${name}`
    })
  )
  const served = Effect.gen(function* () {
    yield* ready(url)
    yield* Console.log(`ready ${url}`)
    const { servedBy, text } = yield* ask(url)
    yield* Console.log(`\n  you    ${question}\n  mesh   ${text}\n         (answered by ${servedBy})\n`)
    yield* Console.log(`Point any OpenAI client at ${url}/v1 (no key needed on this machine). Ctrl-C ends the demo.`)
    return yield* Effect.never
  })
  return yield* Effect.raceAll([served, entryEnded, ...peersEnded])
})

BunRuntime.runMain(
  demo.pipe(
    Effect.scoped,
    Effect.tapErrorTag("DemoFailed", (error) => Console.error(`demo: ${error.message}`)),
    Effect.provide(Layer.mergeAll(BunContext.layer, FetchHttpClient.layer, Logger.pretty))
  ),
  { disableErrorReporting: true }
)
