/**
 * The engine host as a child process: started, listened to and killed here. What it or its native code prints never
 * reaches the channel; the end of it is kept for the reason of a crash.
 */
import { dirname } from "node:path"
import { fileURLToPath } from "node:url"
import { Context, Effect, type Scope, Stream } from "effect"
import { EngineError } from "../EngineError.ts"
import { hostEnvironment } from "../HostEnvironment.ts"
import * as FrameSocket from "./FrameSocket.ts"

/**
 * End of what a host printed that is kept, in characters: some 50 lines, enough for an assertion and its
 * surroundings.
 */
const printedCharactersMax = 4096
/** Longest wait for the rest of a dead host's output, which a grandchild could hold open. */
const printedWait = "1 second"
/** `host.ts` beside this file. */
const hostPath = fileURLToPath(new URL("./host.ts", import.meta.url))

/** Represents a running host. */
export interface HostProcess {
  readonly processId: number
  /** Sends one command; false where its frame is over the bound. */
  readonly send: (command: unknown) => boolean
  /** Waits for the end of the process and fails with how it ended and the last lines it printed. */
  readonly ended: Effect.Effect<never, EngineError>
}

/** Represents what a host is started with. */
export interface HostProcessOptions {
  /** Program and arguments; this Bun and `host.ts` where absent. */
  readonly command: readonly [string, ...ReadonlyArray<string>] | undefined
  /** Its whole environment besides what Weft sets: a model's process has no business with the user's secrets. */
  readonly environment: Readonly<Record<string, string>>
  readonly onFrame: (frame: unknown) => void
}

/** How the hosts of stages are started: as child processes, unless a simulation puts others in their place. */
export class HostSpawn extends Context.Reference<HostSpawn>()("@weft/engine/HostSpawn", {
  defaultValue: () => spawn
}) {}

/** Starts a host; it is killed with the scope, as it holds nothing worth saving. */
export const spawn = (options: HostProcessOptions): Effect.Effect<HostProcess, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const child = yield* Effect.acquireRelease(start(options), kill)
    const descriptor = child.stdio[channelIndex]
    if (typeof descriptor !== "number") return yield* lost("the system gave the engine host no channel")
    const printed = yield* Effect.forkScoped(Effect.all([tail(child.stdout), tail(child.stderr)], { concurrency: 2 }))
    const socket = yield* FrameSocket.open(descriptor, {
      onFrame: options.onFrame,
      onClose: () => child.kill("SIGKILL")
    })
    const ended = Effect.gen(function* () {
      yield* Effect.promise(() => child.exited)
      const how = child.signalCode === null ? `exit code ${child.exitCode}` : `signal ${child.signalCode}`
      const lines = yield* Effect.timeoutOption(printed, printedWait)
      const last = lines._tag === "None" ? "" : lines.value.join("\n").trim()
      return yield* lost(`the engine host ended by ${how}${last === "" ? "" : `; it printed last:\n${last}`}`)
    })
    return { processId: child.pid, send: socket.send, ended }
  })

// internal

/** Index of the channel among the child's descriptors; `EngineHost.channelDescriptor` is the same from inside. */
const channelIndex = 3

const lost = (detail: string) => new EngineError({ reason: "host_lost", detail })

const start = ({ command, environment }: HostProcessOptions) =>
  Effect.try({
    try: () =>
      Bun.spawn([...(command ?? [process.execPath, hostPath])], {
        stdio: ["ignore", "pipe", "pipe", "socket-fd"],
        // Bun reads `.env` and `bunfig.toml` of the folder it starts in; the user's are not for a model's process.
        cwd: dirname(process.execPath),
        env: { ...environment, ...hostEnvironment }
      }),
    catch: (error) => lost(`the engine host cannot be started: ${error}`)
  })

const kill = (child: Bun.Subprocess) =>
  Effect.promise(() => {
    child.kill("SIGKILL")
    return child.exited
  })

const tail = (stream: ReadableStream<Uint8Array>) =>
  Stream.fromReadableStream({ evaluate: () => stream, onError: String }).pipe(
    Stream.decodeText(),
    Stream.runFold("", (kept, text) => (kept + text).slice(-printedCharactersMax)),
    Effect.orElseSucceed(() => "")
  )
