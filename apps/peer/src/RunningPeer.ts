/** Where the running peer of a data directory can be asked: `peer.json`, there from start to stop. */
import { FileSystem, HttpClient, HttpClientResponse, Path } from "@effect/platform"
import { Data, Effect, Schema } from "effect"
import { PeerStatus } from "./PeerStatus.ts"

/** Represents a data directory without a running peer. */
export class NotRunning extends Data.TaggedError("NotRunning")<{ readonly dataDirectory: string }> {
  override get message(): string {
    return `No peer runs from '${this.dataDirectory}'. Start one: bun run peer up --entry URL --model FILE`
  }
}

/** Represents a second peer on one data directory: two with one identity would push each other off the entry. */
export class AlreadyRunning extends Data.TaggedError("AlreadyRunning")<{
  readonly dataDirectory: string
  readonly pid: number
}> {
  override get message(): string {
    return `A peer (process ${this.pid}) already runs from '${this.dataDirectory}'. Stop it, or use another --data-dir.`
  }
}

const Running = Schema.parseJson(Schema.Struct({ pid: Schema.Int, url: Schema.String }))

const file = (dataDirectory: string) => Effect.map(Path.Path, (path) => path.join(dataDirectory, "peer.json"))

/** Answers of a live peer on loopback take well under this. */
const deadline = "2 seconds"

/** Asks the running peer for its status. */
export const status = Effect.fn("RunningPeer.status")(function* (dataDirectory: string) {
  const { url } = yield* read(dataDirectory)
  return yield* HttpClient.get(`${url}/status`).pipe(
    Effect.flatMap(HttpClientResponse.schemaBodyJson(PeerStatus)),
    Effect.scoped,
    Effect.timeout(deadline),
    Effect.mapError(() => new NotRunning({ dataDirectory }))
  )
})

/** Refuses to go on where a live peer already runs from the directory. */
export const assertNone = Effect.fn("RunningPeer.assertNone")(function* (dataDirectory: string) {
  const answers = yield* Effect.option(Effect.zipRight(status(dataDirectory), read(dataDirectory)))
  if (answers._tag === "Some") return yield* new AlreadyRunning({ dataDirectory, pid: answers.value.pid })
})

/** Says until the scope closes that this process can be asked at `url`. */
export const publish = Effect.fn("RunningPeer.publish")(function* (dataDirectory: string, url: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* file(dataDirectory)
  const text = yield* Schema.encode(Running)({ pid: process.pid, url })
  yield* Effect.acquireRelease(fs.writeFileString(path, text, { mode: 0o600 }), () => Effect.ignore(fs.remove(path)))
})

// internal

const read = Effect.fn("RunningPeer.read")(function* (dataDirectory: string) {
  const fs = yield* FileSystem.FileSystem
  return yield* Effect.flatMap(fs.readFileString(yield* file(dataDirectory)), Schema.decode(Running)).pipe(
    Effect.mapError(() => new NotRunning({ dataDirectory }))
  )
})
