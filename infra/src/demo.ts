/**
 * The mesh on one machine: an entry and three peers that serve the bundled tiny model, one question answered on the
 * terminal, and then a door for any OpenAI client until Ctrl-C. Everything runs as it would on four machines.
 */

import { FetchHttpClient } from "@effect/platform"
import * as Command from "@effect/platform/Command"
import type { PlatformError } from "@effect/platform/Error"
import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClient from "@effect/platform/HttpClient"
import * as Program from "@weft/actors/Program"
import { Config, Console, Data, Deferred, Effect, Schema, Stream } from "effect"
import { runtimeEnvironment } from "./Runtime.ts"

/** Represents a demo that could not start; the message says what to do. */
class DemoFailed extends Data.TaggedError("DemoFailed")<{ readonly message: string }> {}

const root = new URL("../../", import.meta.url).pathname
const model = `${root}packages/engine/models/tiny-small-f16.gguf`
const peers = ["ada", "ben", "cora"]
const question = "What is 7 plus 5?"

/** Loading takes about a second; a machine that is busy with other things takes many. */
const readyDeadline = "60 seconds"

const settings = Config.all({
  httpPort: Config.port("WEFT_HTTP_PORT").pipe(Config.withDefault(8080)),
  meshPort: Config.port("WEFT_MESH_PORT").pipe(Config.withDefault(8443)),
  dataDirectory: Config.string("WEFT_DATA_DIR").pipe(Config.withDefault(`${root}.weft/demo`))
})

/** Represents a program of the demo: one Deferred for being ready, one effect that fails when it ends. */
interface Started {
  readonly ready: Effect.Effect<void>
  readonly ended: Effect.Effect<never, DemoFailed | PlatformError>
}

/** Starts `bun ARGS` and prints its lines behind `name`; it is ready with the first line that begins with `sign`. */
const start = Effect.fn("demo.start")(function* (
  name: string,
  args: ReadonlyArray<string>,
  environment: Record<string, string>,
  sign: string
) {
  const child = yield* Command.make(process.execPath, ...args).pipe(
    Command.workingDirectory(root),
    Command.env({ ...runtimeEnvironment, ...environment }),
    Command.stderr("inherit"),
    Command.start
  )
  const ready = yield* Deferred.make<void>()
  yield* child.stdout.pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.tap((line) => Console.log(`${name.padEnd(6)} ${line}`)),
    Stream.runForEach((line) => (line.startsWith(sign) ? Deferred.succeed(ready, undefined) : Effect.void)),
    Effect.forkScoped
  )
  const ended = Effect.flatMap(child.exitCode, (code) =>
    Effect.fail(new DemoFailed({ message: `${name} ended with code ${code}; its last lines say why` }))
  )
  return { ready: Deferred.await(ready), ended } satisfies Started
})

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
  const entry = yield* start(
    "entry",
    ["apps/entry/src/main.ts"],
    { WEFT_HTTP_PORT: String(httpPort), WEFT_MESH_PORT: String(meshPort), WEFT_DATA_DIR: `${dataDirectory}/entry` },
    "listening"
  )
  // Peers would find it later too, and say so; a first impression is better without.
  yield* Effect.raceFirst(entry.ready, entry.ended)
  const programs = [
    entry,
    ...(yield* Effect.forEach(peers, (name) =>
      start(
        name,
        ["apps/peer/src/main.ts", "up", "--entry", url, "--model", model, "--name", name],
        // The port of the settings is the entry's.
        { WEFT_DATA_DIR: `${dataDirectory}/${name}`, WEFT_MESH_PORT: "0" },
        "ready"
      )
    ))
  ]
  const served = Effect.gen(function* () {
    yield* Effect.forEach(programs, ({ ready }) => ready, { discard: true }).pipe(
      Effect.timeoutFail({
        duration: readyDeadline,
        onTimeout: () => new DemoFailed({ message: "the mesh is not ready after 60 s; the lines above say why" })
      })
    )
    yield* Console.log(`ready ${url}`)
    const { servedBy, text } = yield* ask(url)
    yield* Console.log(`\n  you    ${question}\n  mesh   ${text}\n         (answered by ${servedBy})\n`)
    yield* Console.log(`Point any OpenAI client at ${url}/v1 (no key needed on this machine). Ctrl-C ends the demo.`)
    return yield* Effect.never
  })
  return yield* Effect.raceAll([served, ...programs.map(({ ended }) => ended)])
})

Program.run(Effect.provide(Effect.scoped(demo), FetchHttpClient.layer), { name: "demo" })
