/** Real entries and peers as child processes on loopback, each with ports and a data directory of its own. */
import { FileSystem } from "@effect/platform"
import * as Command from "@effect/platform/Command"
import type { Process } from "@effect/platform/CommandExecutor"
import { BunContext } from "@effect/platform-bun"
import { Chunk, Deferred, Effect, FiberId, type Scope, Stream } from "effect"

const root = new URL("../../", import.meta.url).pathname

/** Absolute path of a bundled model. */
export const modelPath = (name: "tiny-small-f16" | "tiny-nano-f16"): string =>
  `${root}packages/engine/models/${name}.gguf`

/** Represents a program that runs and prints one JSON object per line. */
export interface Program {
  readonly process: Process
  /** Waits for the first line whose `event` is this; dies with what was printed when the program ends before. */
  readonly event: (name: string) => Effect.Effect<Record<string, unknown>>
  /** Everything printed so far on both outputs. */
  readonly printed: Effect.Effect<string>
}

/** Starts `bun ARGS` from the repository's root; it is killed with the scope. */
export const start = (
  args: ReadonlyArray<string>,
  environment: Record<string, string> = {}
): Effect.Effect<Program, never, Scope.Scope> => startIn(root, args, environment)

/** Starts `bun ARGS` from a folder; it is killed with the scope. */
export const startIn = (
  folder: string,
  args: ReadonlyArray<string>,
  environment: Record<string, string>
): Effect.Effect<Program, never, Scope.Scope> =>
  Effect.gen(function* () {
    const child = yield* Command.make(process.execPath, ...args).pipe(
      Command.workingDirectory(folder),
      Command.env(environment),
      Command.start
    )
    const lines: Array<string> = []
    const events = new Map<string, Deferred.Deferred<Record<string, unknown>>>()
    const event = (name: string): Deferred.Deferred<Record<string, unknown>> => {
      const known = events.get(name) ?? Deferred.unsafeMake<Record<string, unknown>>(FiberId.none)
      events.set(name, known)
      return known
    }
    const keep = (line: string): void => {
      lines.push(line)
      if (!line.startsWith("{")) return
      const value = JSON.parse(line) as Record<string, unknown>
      if (typeof value["event"] === "string") Deferred.unsafeDone(event(value["event"]), Effect.succeed(value))
    }
    const printed = Effect.sync(() => lines.join("\n"))
    const consume = (output: Stream.Stream<Uint8Array, unknown>) =>
      output.pipe(
        Stream.decodeText(),
        Stream.splitLines,
        Stream.runForEach((line) => Effect.sync(() => keep(line))),
        Effect.ignore
      )
    const ended = yield* Effect.fork(
      Effect.zipRight(
        Effect.all([consume(child.stdout), consume(child.stderr)], { concurrency: 2 }),
        Effect.flatMap(printed, (text) => Effect.dieMessage(`bun ${args.join(" ")} ended:\n${text}`))
      )
    )
    return {
      process: child,
      event: (name) => Effect.raceFirst(Deferred.await(event(name)), Effect.fromFiber(ended)),
      printed
    } satisfies Program
  }).pipe(Effect.orDie, Effect.provide(BunContext.layer))

/** Makes a directory that is removed with the scope. */
export const directory: Effect.Effect<string, never, Scope.Scope> = Effect.flatMap(FileSystem.FileSystem, (fs) =>
  fs.makeTempDirectoryScoped({ prefix: "weft-test-" })
).pipe(Effect.orDie, Effect.provide(BunContext.layer))

/** Starts an entry on free ports. */
export const startEntry = (environment: Record<string, string> = {}) =>
  Effect.gen(function* () {
    const program = yield* start(["run", "apps/entry/src/main.ts", "--json"], {
      WEFT_HTTP_PORT: "0",
      WEFT_MESH_PORT: "0",
      WEFT_DATA_DIR: yield* directory,
      ...environment
    })
    const { url, peerId, mesh } = yield* program.event("listening")
    return { ...program, url: String(url), peerId: String(peerId), mesh: String(mesh) }
  })

/** Starts a peer of the entry at `url` and waits until it is in the directory. */
export const startPeer = (
  url: string,
  options: { readonly model?: string; readonly args?: ReadonlyArray<string>; readonly dataDirectory?: string } = {}
) =>
  Effect.gen(function* () {
    const dataDirectory = options.dataDirectory ?? (yield* directory)
    const model = options.model ?? modelPath("tiny-small-f16")
    const program = yield* start(
      ["run", "apps/peer/src/main.ts", "up", "--json", "--entry", url, "--model", model, ...(options.args ?? [])],
      { WEFT_DATA_DIR: dataDirectory }
    )
    const { id } = yield* program.event("registered")
    return { ...program, id: String(id), dataDirectory }
  })

/** Runs a program to its end; returns its exit code and what it printed. */
export const run = (args: ReadonlyArray<string>, environment: Record<string, string> = {}) =>
  Effect.gen(function* () {
    const child = yield* Command.make(process.execPath, ...args).pipe(
      Command.workingDirectory(root),
      Command.env(environment),
      Command.start
    )
    const text = (output: Stream.Stream<Uint8Array, unknown>) =>
      output.pipe(Stream.decodeText(), Stream.runCollect, Effect.map(Chunk.join("")), Effect.orDie)
    const [stdout, stderr, code] = yield* Effect.all([text(child.stdout), text(child.stderr), child.exitCode], {
      concurrency: 3
    })
    return { code: Number(code), stdout, stderr }
  }).pipe(Effect.scoped, Effect.orDie, Effect.provide(BunContext.layer))
