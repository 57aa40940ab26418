/**
 * The tuning of a host over the real library: what it measures, and that a decode that was given up leaves no trace.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as BatchLoop from "@weft/engine/BatchLoop"
import * as CalibrationFile from "@weft/engine/CalibrationFile"
import * as HostTuning from "@weft/engine/HostTuning"
import { touchy } from "@weft/infra/bench/model/Shape"
import { Effect, Option } from "effect"
import { decodeGivenUp, type Llama } from "../../packages/engine/src/internal/llama/Llama.ts"
import { it } from "../support/effect.ts"
import { ask, greedy, makeEngine } from "./asking.ts"
import { openLlama, runLoop } from "./looping.ts"

const limits = { contextTokens: 512, slots: 4, prefillTokens: 128, profile: "exact", pairRows: false } as const
const opened: { llama?: Llama } = {}
beforeAll(async () => {
  opened.llama = await openLlama({ ...limits, shape: touchy })
})
afterAll(() => opened.llama?.close())
const model = (): Llama => {
  if (opened.llama === undefined) throw new Error("not open")
  return opened.llama
}

const options = { ...limits, threadsMax: 1, calibration: undefined }
const now = () => performance.now()

/** Prompts of several lengths, so that decodes hold rows of several sequences. */
const prepared = [3, 40, 150, 7].map((length, index) => {
  const prompt = [1, ...Array.from({ length }, (_, at) => 6 + ((at * 37 + index * 11) % 1000))]
  return { request: ask({ _tag: "Tokens", tokens: prompt }, { sampling: greedy, maxTokens: 30 }), prompt, seed: 1 }
})

describe("the tuning of a host", () => {
  test("measures, and leaves the sequences empty", () => {
    const tuning = HostTuning.make(model(), { ...options, profile: "fast" }, now)
    expect(tuning.calibration.threads).toBe(1)
    expect(tuning.calibration.oneRowMs).toBeGreaterThan(0)
    expect([64, 128]).toContain(tuning.prefillTokens)
    expect(tuning.tuning()).toMatchObject({ threads: 1, threadsMax: 1, profile: "fast" })
    const before = runLoop(BatchLoop.make(model(), limits), prepared)
    expect(runLoop(BatchLoop.make(model(), limits, tuning.decode), prepared)).toEqual(before)
  })

  test("measures nothing where an earlier start did", () => {
    const calibration = { threads: 1, oneRowMs: 5, prefillTokens: 64 }
    const tuning = HostTuning.make(model(), { ...options, calibration }, () => 0)
    expect(tuning.calibration).toEqual(calibration)
  })

  test("gives the same tokens where decodes are given up at any moment and computed again", () => {
    const llama = model()
    const plain = runLoop(BatchLoop.make(llama, limits), prepared)
    let givenUp = 0
    let state = 12345
    const interrupted: BatchLoop.Decode = (rows, undo) => {
      for (let tries = 0; tries < 3; tries++) {
        state = (state * 1103515245 + 12345) % 2147483648
        const code = llama.decode(rows, 0.001 + (state / 2147483648) * 0.6)
        if (code !== decodeGivenUp) return code
        givenUp++
        expect(undo()).toBe(true)
      }
      return llama.decode(rows)
    }
    expect(runLoop(BatchLoop.make(llama, limits, interrupted), prepared)).toEqual(plain)
    expect(givenUp).toBeGreaterThan(20)
  })

  test("gives one thread what a decode on more missed", () => {
    const llama = model()
    const used: Array<readonly [threads: number, deadline: boolean]> = []
    let threads = 0
    const stub: Llama = {
      ...llama,
      useThreads: (count) => {
        threads = count
      },
      decode: (rows, deadlineMs) => {
        used.push([threads, deadlineMs !== undefined])
        return threads > 1 ? decodeGivenUp : llama.decode(rows)
      }
    }
    const known = { threads: 2, oneRowMs: 1, prefillTokens: 128 }
    const tuning = HostTuning.make(stub, { ...options, threadsMax: 2, calibration: known }, now)
    expect(runLoop(BatchLoop.make(stub, limits, tuning.decode), prepared)).toEqual(
      runLoop(BatchLoop.make(llama, limits), prepared)
    )
    expect(used.slice(0, 3)).toEqual([
      [2, true],
      [1, false],
      [1, false]
    ])
    expect(tuning.tuning()).toMatchObject({ threads: 1, why: expect.stringContaining("deadline") })
  })
})

describe("what was learnt", () => {
  const subject = { sha256: "a".repeat(64), profile: "fast", threadsMax: 3, prefillTokens: 128 } as const
  const calibration = { threads: 2, oneRowMs: 4.5, prefillTokens: 64 }
  const folder = Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "weft-learnt-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true }))
  )

  it.effect("is kept by computer, file, profile and bounds", () =>
    Effect.gen(function* () {
      const path = join(yield* folder, "engine.json")
      expect(Option.isNone(yield* CalibrationFile.read(path, subject))).toBe(true)
      yield* CalibrationFile.write(path, subject, calibration)
      yield* CalibrationFile.write(path, { ...subject, profile: "exact" }, { ...calibration, threads: 1 })
      expect(yield* CalibrationFile.read(path, subject)).toEqual(Option.some(calibration))
      expect(Option.isNone(yield* CalibrationFile.read(path, { ...subject, threadsMax: 4 }))).toBe(true)
      for (let index = 0; index < 140; index++) {
        yield* CalibrationFile.write(path, { ...subject, sha256: String(index) }, calibration)
      }
      expect(Option.isNone(yield* CalibrationFile.read(path, subject))).toBe(true)
      expect(yield* CalibrationFile.read(path, { ...subject, sha256: "139" })).toEqual(Option.some(calibration))
      writeFileSync(path, '{"version":1,"entries":[["x",{"threads":-1}]]}')
      expect(Option.isNone(yield* CalibrationFile.read(path, subject))).toBe(true)
    })
  )

  it.live("is there for an engine's next start, and its owner sees what was chosen", () =>
    Effect.gen(function* () {
      const path = join(yield* folder, "engine.json")
      const start = Effect.scoped(Effect.flatMap(makeEngine({ calibrationPath: path, threads: 1 }), ({ load }) => load))
      expect((yield* start).tuning).toMatchObject({ profile: "fast", threads: 1, threadsMax: 1 })
      const first = readFileSync(path, "utf8")
      expect((yield* start).tuning?.why).toContain("earlier start")
      expect(readFileSync(path, "utf8")).toBe(first)
    })
  )
})
