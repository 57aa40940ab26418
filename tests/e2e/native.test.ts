/** Where native code runs: in the engine's child process alone. Linux says which files a process has mapped. */
import { expect } from "bun:test"
import { readdirSync, readFileSync } from "node:fs"
import { Effect } from "effect"
import { it } from "../support/effect.ts"
import { startEntry, startPeer } from "../support/processes.ts"

/** Returns the addons and engine libraries that a process has mapped. */
const libraries = (pid: number): ReadonlyArray<string> =>
  [...new Set(readFileSync(`/proc/${pid}/maps`, "utf8").match(/[^/\s]+\.node$|lib(?:llama|ggml)[^/\s]*$/gm))].sort()

const childrenOf = (pid: number): ReadonlyArray<number> =>
  readdirSync(`/proc/${pid}/task`)
    .flatMap((task) => readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").trim().split(" "))
    .filter((child) => child !== "")
    .map(Number)

it.live("neither the entry nor the peer has an addon or the engine in it; the peer's child has the engine", () =>
  Effect.gen(function* () {
    const entry = yield* startEntry()
    const peer = yield* startPeer(entry.url)
    expect(libraries(entry.process.pid)).toEqual([])
    expect(libraries(peer.process.pid)).toEqual([])
    const hosted = childrenOf(peer.process.pid).flatMap(libraries)
    expect(hosted.some((name) => name.startsWith("libllama"))).toBe(true)
  })
)
