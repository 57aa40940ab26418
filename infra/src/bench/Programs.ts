/**
 * The processes of a benchmark: entries, peers, and children of its own that are asked over IPC. Whatever is started
 * here ends with the benchmark, however that ends.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Subprocess } from "bun"
import { runtimeEnvironment } from "../Runtime.ts"

/** Root of the repository. */
export const root = join(import.meta.dir, "../../..")

/** Longest start of a program: the slowest machine loads 200 MB and hashes them in a few seconds. */
const startMsMax = 120_000
/** Lines of a program's output that are kept for the message when it ends too early. */
const linesKept = 30

/** Represents a program that prints one JSON object per line. */
export interface Program {
  readonly pid: number
  /** Waits for the first line whose `event` is this; rejects when the program ends before, with its last lines. */
  readonly event: (name: string) => Promise<Readonly<Record<string, unknown>>>
  /** Sends a signal and returns at once. */
  readonly signal: (signal: NodeJS.Signals) => void
  readonly exited: Promise<number>
}

/** Starts `bun ARGS` from the repository's root, as the scripts of package.json do. */
export const start = (args: ReadonlyArray<string>, environment: Readonly<Record<string, string>> = {}): Program => {
  const child = Bun.spawn([process.execPath, ...args], {
    cwd: root,
    env: { ...process.env, ...runtimeEnvironment, ...environment },
    stdio: ["ignore", "pipe", "pipe"]
  })
  live.add(child)
  const lines: Array<string> = []
  const events = new Map<string, Readonly<Record<string, unknown>>>()
  const waiting = new Map<string, (event: Readonly<Record<string, unknown>>) => void>()
  const keep = (line: string): void => {
    lines.push(line)
    lines.splice(0, lines.length - linesKept)
    const event = line.startsWith("{") ? JSON.parse(line) : {}
    if (typeof event.event !== "string" || events.has(event.event)) return
    events.set(event.event, event)
    waiting.get(event.event)?.(event)
  }
  const read = Promise.all([eachLine(child.stdout, keep), eachLine(child.stderr, keep)])
  const exited = child.exited.finally(() => live.delete(child))
  return {
    pid: child.pid,
    event: (name) => {
      const { promise, reject, resolve } = Promise.withResolvers<Readonly<Record<string, unknown>>>()
      const known = events.get(name)
      if (known !== undefined) resolve(known)
      else waiting.set(name, resolve)
      const fail = (why: string) => reject(new Error(`bun ${args.join(" ")} ${why}:\n${lines.join("\n")}`))
      Promise.all([exited, read]).then(([code]) => fail(`ended with ${code}`), fail)
      const timer = setTimeout(() => fail(`said no ${name} in time`), startMsMax)
      return promise.finally(() => clearTimeout(timer))
    },
    signal: (signal) => child.kill(signal),
    exited
  }
}

/** Represents a child that answers one message with one. */
export interface Asked<Question, Reply> {
  readonly pid: number
  readonly ask: (question: Question) => Promise<Reply>
  readonly stop: () => Promise<void>
}

/** Represents how a child is started. */
export interface AskedOptions {
  /** A command that starts it, e.g. one that pins it. */
  readonly prefix?: ReadonlyArray<string>
  /** Goes before the benchmark's own. */
  readonly environment?: Readonly<Record<string, string>>
}

/** Starts the module at `path`, which calls `serve`. */
export const startAsked = <Question, Reply>(
  path: string,
  { environment = {}, prefix = [] }: AskedOptions = {}
): Asked<Question, Reply> => {
  const replies: Array<PromiseWithResolvers<Reply>> = []
  const child = Bun.spawn([...prefix, process.execPath, path], {
    cwd: root,
    env: { ...process.env, ...environment },
    stdio: ["ignore", "inherit", "inherit"],
    serialization: "json",
    ipc: (reply: Reply) => replies.shift()?.resolve(reply)
  })
  live.add(child)
  const exited = child.exited.finally(() => live.delete(child))
  exited.then((code) => {
    for (const { reject } of replies.splice(0)) reject(new Error(`${path} ended with ${code}`))
  })
  return {
    pid: child.pid,
    ask: (question) => {
      const reply = Promise.withResolvers<Reply>()
      replies.push(reply)
      child.send(question)
      return reply.promise
    },
    stop: async () => {
      child.kill("SIGKILL")
      await exited
    }
  }
}

/** Answers the messages of the process that started this one, one after another, until that ends. */
export const serve = <Question, Reply>(answer: (question: Question) => Promise<Reply> | Reply): void => {
  let last: Promise<unknown> = Promise.resolve()
  process.on("message", (question: Question) => {
    last = last.then(async () => process.send?.(await answer(question)))
    // A benchmark without one of its processes has nothing to say.
    last.catch((error) => {
      console.error(error)
      process.exit(1)
    })
  })
  process.on("disconnect", () => process.exit(0))
}

/** Runs a command to its end and returns its standard output; rejects with its last lines where it fails. */
export const run = async (command: ReadonlyArray<string>): Promise<string> => {
  const child = Bun.spawn([...command], { cwd: root, stdio: ["ignore", "pipe", "pipe"] })
  live.add(child)
  const lines: Array<string> = []
  const keep = (line: string): void => {
    lines.push(line)
    lines.splice(0, lines.length - linesKept)
  }
  const [code, output] = await Promise.all([
    child.exited,
    new Response(child.stdout).text(),
    eachLine(child.stderr, keep)
  ])
  live.delete(child)
  if (code === 0) return output
  const last = [...output.split("\n").slice(-linesKept), ...lines]
  throw new Error(`${command.join(" ")} ended with ${code}:\n${last.join("\n")}`)
}

/** Represents a program that is not ours; what it prints is thrown away. */
export interface Command {
  readonly stop: () => Promise<void>
  readonly exited: Promise<number>
}

/** Starts a command that runs until it is stopped. */
export const startCommand = (command: ReadonlyArray<string>): Command => {
  const child = Bun.spawn([...command], { cwd: root, stdio: ["ignore", "ignore", "ignore"] })
  live.add(child)
  const exited = child.exited.finally(() => live.delete(child))
  const stop = async (): Promise<void> => {
    child.kill("SIGKILL")
    await exited
  }
  return { stop, exited }
}

/** Returns a directory that is removed when the benchmark ends. */
export const directory = (): string => {
  const path = mkdtempSync(join(tmpdir(), "weft-bench-"))
  directories.add(path)
  return path
}

/** Ends everything that was started; called when a benchmark is done, and once more when the process ends. */
export const endAll = (): void => {
  for (const child of live) child.kill("SIGKILL")
  live.clear()
  for (const path of directories) rmSync(path, { recursive: true, force: true })
  directories.clear()
}

// internal

const live = new Set<Subprocess>()
const directories = new Set<string>()

process.on("exit", endAll)
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130))

const eachLine = async (output: ReadableStream<Uint8Array>, keep: (line: string) => void): Promise<void> => {
  let rest = ""
  const decoder = new TextDecoder()
  for await (const bytes of output) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n")
    rest = lines.pop() ?? ""
    for (const line of lines) keep(line)
  }
}
