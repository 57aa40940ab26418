/** The peer's verbs as their owner types them, with their output for programs and their exit codes. */
import { expect } from "bun:test"
import { FileSystem } from "@effect/platform"
import { BunContext } from "@effect/platform-bun"
import { Effect } from "effect"
import { it } from "../support/effect.ts"
import { directory, modelPath, run, start, startEntry, startPeer } from "../support/processes.ts"

const peer = (...args: ReadonlyArray<string>) => run(["run", "apps/peer/src/main.ts", ...args])
const parsed = (text: string): Record<string, unknown> => JSON.parse(text) as Record<string, unknown>

/** A file that begins like a model and ends in its middle. */
const truncatedModel = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = `${yield* directory}/truncated.gguf`
  yield* fs.writeFile(path, (yield* fs.readFile(modelPath("tiny-nano-f16"))).subarray(0, 700_000))
  return path
}).pipe(Effect.orDie, Effect.provide(BunContext.layer))

it.live("identity prints the same id each time, and status says that nothing runs with exit code 3", () =>
  Effect.gen(function* () {
    const dataDirectory = yield* directory
    const first = yield* peer("identity", "--json", "--data-dir", dataDirectory)
    const second = yield* peer("identity", "--data-dir", dataDirectory)
    expect(first.code).toBe(0)
    expect(second.stdout).toContain(String(parsed(first.stdout)["id"]))
    const status = yield* peer("status", "--data-dir", dataDirectory)
    expect(status.code).toBe(3)
    expect(status.stderr).toContain("No peer runs")
  })
)

it.live("wrong usage exits with 2", () =>
  Effect.gen(function* () {
    expect((yield* peer("up")).code).toBe(2)
    expect((yield* peer("doctor", "--threads", "many")).code).toBe(2)
  })
)

it.live("doctor passes a machine that can serve, and names what is wrong with the cure where it can not", () =>
  Effect.gen(function* () {
    const { url } = yield* startEntry()
    const dataDirectory = yield* directory
    const common = ["doctor", "--json", "--data-dir", dataDirectory]
    const fit = yield* peer(...common, "--entry", url, "--model", modelPath("tiny-nano-f16"))
    const { checks } = parsed(fit.stdout) as {
      readonly checks: ReadonlyArray<{ readonly name: string; readonly status: string }>
    }
    expect(checks.map(({ name }) => name)).toEqual([
      "bun",
      "libc",
      "memory",
      "threads",
      "data directory",
      "model",
      "role",
      "entry by HTTP",
      "entry by QUIC",
      "clock"
    ])
    expect(checks.filter(({ status }) => status === "FAIL")).toEqual([])
    expect(fit.code).toBe(0)

    const unfit = yield* peer(
      "doctor",
      "--data-dir",
      "/dev/null/weft",
      "--model",
      yield* truncatedModel,
      "--entry",
      "http://127.0.0.1:9"
    )
    expect(unfit.code).toBe(1)
    for (const line of [/FAIL +data directory/, /FAIL +model .*truncated/, /FAIL +entry by HTTP/]) {
      expect(unfit.stdout).toMatch(line)
    }
  })
)

it.live("status shows the running peer, and a second one on its data directory is refused", () =>
  Effect.gen(function* () {
    const { peerId, url } = yield* startEntry()
    const running = yield* startPeer(url, { args: ["--name", "ada"] })
    const status = yield* peer("status", "--json", "--data-dir", running.dataDirectory)
    expect(parsed(status.stdout)).toMatchObject({ id: running.id, name: "ada", state: "registered", entry: { peerId } })
    expect(parsed(status.stdout)["election"]).toEqual({
      isElective: false,
      models: [
        {
          model: "tiny-small-f16",
          role: "worker",
          why: expect.stringContaining("room for it"),
          isLoaded: true,
          needBytes: expect.any(Number)
        }
      ]
    })
    const told = yield* peer("status", "--data-dir", running.dataDirectory)
    expect(told.stdout).toMatch(/tiny-small-f16 +worker +yes +there is room for it/)
    expect(told.stdout).not.toContain("lease")
    const doctor = yield* peer("doctor", "--data-dir", running.dataDirectory)
    expect([doctor.code, doctor.stdout]).toEqual([0, expect.stringContaining("tiny-small-f16: worker: there is room")])
    const second = yield* peer(
      "up",
      "--entry",
      url,
      "--model",
      modelPath("tiny-nano-f16"),
      "--data-dir",
      running.dataDirectory
    )
    expect(second.code).toBe(1)
    expect(second.stderr).toContain("already runs")
  })
)

it.live("a damaged model is refused with its reason: alone the peer does not start, beside a good one it serves", () =>
  Effect.gen(function* () {
    const { url } = yield* startEntry()
    const damaged = yield* truncatedModel
    const alone = yield* peer("up", "--json", "--entry", url, "--model", damaged, "--data-dir", yield* directory)
    expect(alone.code).toBe(1)
    expect(alone.stdout).toContain('"event":"refused"')
    const beside = yield* startPeer(url, { args: ["--model", damaged] })
    expect(String((yield* beside.event("refused"))["why"])).toMatch(/truncated|past the end|shorter/i)
  })
)

it.live("more memory than the owner lends is not taken", () =>
  Effect.gen(function* () {
    const common = [
      "up",
      "--entry",
      "http://127.0.0.1:9",
      "--model",
      modelPath("tiny-small-f16"),
      "--data-dir",
      yield* directory
    ]
    const little = yield* peer(...common, "--max-memory", "50KB")
    expect(little.code).toBe(1)
    expect(little.stderr).toContain("12 MiB")
    expect((yield* peer(...common, "--max-memory", "much")).stderr).toContain("6GiB")
  })
)

it.live("a peer without an entry says so and keeps trying, until it is stopped", () =>
  Effect.gen(function* () {
    const waiting = yield* start(
      [
        "run",
        "apps/peer/src/main.ts",
        "up",
        "--json",
        "--entry",
        "http://127.0.0.1:9",
        "--model",
        modelPath("tiny-nano-f16")
      ],
      { WEFT_DATA_DIR: yield* directory }
    )
    expect(String((yield* waiting.event("lost"))["why"])).toContain("No Weft entry answers")
    yield* Effect.fork(waiting.process.kill("SIGTERM"))
    expect(Number(yield* waiting.process.exitCode)).toBe(0)
  })
)
