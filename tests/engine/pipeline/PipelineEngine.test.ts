/**
 * Pipelines of real child processes: what they answer is what one host of the whole model answers in the exact profile,
 * whatever the lines between the stages do, with drafts and without, and across stages that die.
 */
import { describe, expect } from "bun:test"
import { join } from "node:path"
import type { EngineConfig } from "@weft/engine/EngineConfig"
import type { GenerateRequest } from "@weft/engine/Generation"
import * as StageFrame from "@weft/engine/pipeline/StageFrame"
import { Duration, Effect, Either, Fiber } from "effect"
import { it } from "../../support/effect.ts"
import { type Answer, answer, ask, generate, greedy } from "../asking.ts"
import { request, seen, solo, together } from "./comparing.ts"
import { pipeline, settings, slots, until } from "./piping.ts"
import { contextTokens, cut, task, warm } from "./staging.ts"

const requests = [task(300, 1), task(130, 2), task(129, 3), task(7, 4)].map((one) => request(one))

/** An answer of a few words that come again and again. */
const draftable = (changes: Partial<GenerateRequest> = {}): GenerateRequest =>
  ask(
    { _tag: "Tokens", tokens: Array.from({ length: 60 }, (_, at) => [20, 21, 22][at % 3] ?? 0) },
    {
      sampling: { ...greedy, seed: 8, logitBias: [20, 21, 22].map((token) => [token, 100] as const) },
      maxTokens: 120,
      ...changes
    }
  )

const lines = { delayMs: 10, jitterMs: 10 }

describe("a pipeline", () => {
  for (const [quantization, cuts] of [
    ["Q4_K_M", [3]],
    ["Q8_0", [1, 2, 5]],
    ["F16", [2, 4]]
  ] as const)
    it.live(
      `of ${quantization} cut at ${cuts} answers four requests at once as the whole model does`,
      () =>
        Effect.gen(function* () {
          const { stages, whole } = yield* cut(quantization, cuts)
          const wanted = yield* solo(whole, requests)
          for (const [index, speculates] of [false, true].entries()) {
            const {
              engine,
              faults,
              stages: running
            } = yield* pipeline(whole, stages, { ...lines, speculates, seed: index })
            const got = yield* together(engine, requests)
            expect(got.map(seen)).toEqual(wanted.map(seen))
            yield* until(() => running().every((stage) => stage.jobs() === 0))
            expect(faults).toEqual([])
          }
        }),
      60_000
    )

  it.live(
    "guesses ahead where an answer repeats itself, and answers the same",
    () =>
      Effect.gen(function* () {
        const { stages, whole } = yield* cut("Q4_K_M", [3])
        const asked = [
          draftable(),
          draftable({
            sampling: { ...draftable().sampling, ...warm, logitBias: draftable().sampling.logitBias, seed: 5 }
          })
        ]
        const wanted = yield* solo(whole, asked)
        const { engine } = yield* pipeline(whole, stages, { delayMs: 20 })
        const got = yield* Effect.forEach(asked, (one) => answer(engine, one))
        expect(got.map(seen)).toEqual(wanted.map(seen))
        yield* until(() => engine.stats().lookup.accepted > 20)
        const { lookup } = engine.stats()
        expect(lookup.drafted).toBeGreaterThanOrEqual(lookup.accepted)
        expect(engine.stats().loopMs).toBeGreaterThan(39)
      }),
    60_000
  )

  it.live(
    "ends an answer within a window where the whole model ends it",
    () =>
      Effect.gen(function* () {
        const { stages, whole } = yield* cut("Q4_K_M", [3])
        const plain = yield* solo(whole, requests)
        const [words] = yield* solo(whole, [draftable()])
        if (words === undefined) throw new Error("no answer")
        const stopOf = ({ text }: Answer) => text.slice(text.length >> 1, (text.length >> 1) + 4)
        const asked = [
          ...[1, 2, 50, 51, 52, 97].map((maxTokens) => draftable({ maxTokens })),
          draftable({ stop: [stopOf(words)] }),
          ...requests.map((one, index) => ({ ...one, stop: plain.slice(index, index + 1).map(stopOf) })),
          request(task(contextTokens - 5, 3))
        ]
        const wanted = yield* solo(whole, asked)
        const { engine, stages: running } = yield* pipeline(whole, stages, lines)
        const got = yield* together(engine, asked)
        expect(got.map(seen)).toEqual(wanted.map(seen))
        yield* until(() => running().every((stage) => stage.jobs() === 0))
      }),
    60_000
  )

  it.live(
    "refuses what the whole model refuses, and goes on with an answer that was begun elsewhere",
    () =>
      Effect.gen(function* () {
        const { stages, whole } = yield* cut("Q4_K_M", [3])
        const [long] = yield* solo(whole, [request(task(140, 1))])
        const resume = { tokens: long?.tokens.slice(0, 35) ?? [], textLength: 4 }
        const asked = [
          request(task(140, 1), { resume }),
          request(task(140, 1), { resume: { tokens: [-1], textLength: 0 } }),
          request(task(140, 1), { resume: { tokens: long?.tokens ?? [], textLength: 0 } }),
          request(task(contextTokens, 1)),
          ask("A chat for the template", { maxTokens: 9 }),
          ask({ _tag: "Text", text: "" }),
          ask({ _tag: "Text", text: "x" }, { sampling: { ...greedy, logitBias: [[1e6, 1]] } }),
          ask("hello", { model: "other" })
        ]
        const wanted = yield* solo(whole, asked)
        const { engine } = yield* pipeline(whole, stages)
        const got = yield* together(engine, asked)
        const unseeded = ({ first, ...rest }: ReturnType<typeof seen>) => ({ ...rest, first: first?._tag })
        expect(got.map(seen).map(unseeded)).toEqual(wanted.map(seen).map(unseeded))
      }),
    60_000
  )
})

describe("a pipeline whose stages die", () => {
  it.live(
    "goes on with its answers as if nothing had been",
    () =>
      Effect.gen(function* () {
        const { stages, whole } = yield* cut("Q4_K_M", [2, 4])
        const asked = [...requests, draftable()]
        const wanted = yield* solo(whole, asked)
        const { engine, epoch, replace, sent } = yield* pipeline(whole, stages, lines)
        const answering = yield* Effect.fork(together(engine, asked))
        // At the prompts, and later ever further into the answers.
        for (const [index, frames] of [3, 30, 60, 90].entries()) {
          const before = sent.length
          yield* until(() => sent.length > before + frames || sent.at(-1)?.kind === "close")
          yield* replace(index % 2)
        }
        const got = yield* Fiber.join(answering)
        expect(got.map(seen)).toEqual(wanted.map(seen))
        expect(epoch()).toBe(5)
      }),
    120_000
  )

  it.live(
    "lets answers wait that come while it is down",
    () =>
      Effect.gen(function* () {
        const { stages, whole } = yield* cut("Q4_K_M", [3])
        const wanted = yield* solo(whole, requests)
        const { engine, sent } = yield* pipeline(whole, stages, lines)
        engine.disconnect()
        const cancelled = engine.generate(request(task(20, 9)), () => {
          throw new Error("nobody listens")
        })
        const answering = yield* Effect.fork(together(engine, requests))
        yield* Effect.repeat(engine.load, { until: ({ queued, state }) => queued === 5 && state === "restarting" })
        cancelled()
        engine.connect(2)
        expect((yield* Fiber.join(answering)).map(seen)).toEqual(wanted.map(seen))
        expect(sent.filter(({ kind }) => kind === "open").length).toBe(4)
        expect(yield* engine.load).toMatchObject({ state: "ready", active: 0, queued: 0 })
      }),
    60_000
  )

  it.live(
    "tells of a stage that is stuck, once",
    () =>
      Effect.gen(function* () {
        const stall = Duration.millis(300)
        const { stages, whole } = yield* cut("Q4_K_M", [3])
        const [wanted] = yield* solo(whole, [request(task(20, 2))])
        const {
          engine,
          faults,
          replace,
          sent,
          stages: running
        } = yield* pipeline(whole, stages, {
          stall,
          delayMs: 5
        })
        const answering = yield* Effect.fork(answer(engine, request(task(20, 2))))
        yield* until(() => sent.length > 8)
        for (const { processId } of running()) process.kill(processId, "SIGSTOP")
        yield* until(() => faults.length > 0)
        yield* Effect.sleep(Duration.times(stall, 4))
        expect(faults).toEqual([expect.stringContaining("no stage was heard of")])
        yield* replace(0)
        expect(seen(yield* Fiber.join(answering))).toEqual(wanted === undefined ? expect.anything() : seen(wanted))
      }),
    60_000
  )
})

describe("a stage that refuses an answer", () => {
  it.live(
    "is told of, and the answer goes on when the pipeline is made again, but not for ever",
    () =>
      Effect.gen(function* () {
        const { stages, whole } = yield* cut("Q4_K_M", [3])
        const [one, other] = requests
        if (one === undefined || other === undefined) throw new Error("no request")
        const wanted = yield* solo(whole, [one, other])
        const { engine, faults, sent, stages: running } = yield* pipeline(whole, stages, lines)
        const refuse = (epoch: number, job: number) =>
          engine.receive(StageFrame.encode({ kind: "failed", epoch, job, reason: "no room" }))
        const answering = yield* Effect.fork(together(engine, [one, other]))
        yield* until(() => sent.length > 20)
        refuse(1, 1)
        refuse(1, 1)
        refuse(0, 2)
        refuse(1, 77)
        yield* until(() => faults.length > 0)
        engine.connect(2)
        expect((yield* Fiber.join(answering)).map(seen)).toEqual(wanted.map(seen))
        expect(faults).toEqual(["no room"])
        const again = yield* Effect.fork(answer(engine, one))
        const begun = sent.length
        yield* until(() => sent.length > begun)
        const job = sent.at(-1)?.job ?? 0
        for (const epoch of [2, 3, 4]) {
          engine.connect(epoch)
          // Before the prompt is through: no token comes in between.
          refuse(epoch, job)
        }
        expect((yield* Fiber.join(again)).last).toMatchObject({ _tag: "Failed", failure: { code: "engine_lost" } })
        yield* until(() => running().every((stage) => stage.jobs() === 0))
      }),
    60_000
  )

  it.live("and a tail that says what does not fit are at fault, and bytes that are no frame are refused", () =>
    Effect.gen(function* () {
      const { stages, whole } = yield* cut("Q4_K_M", [3])
      const { engine, faults, sent } = yield* pipeline(whole, stages, { delayMs: 50 })
      yield* generate(engine, request(task(20, 1)))
      yield* until(() => sent.some(({ kind }) => kind === "window"))
      const tokens = { kind: "tokens", epoch: 1, job: 1, round: 0, window: 0, position: 0, drawn: 1 } as const
      engine.receive(StageFrame.encode({ ...tokens, tokens: Int32Array.of(1_000_000) }))
      yield* until(() => faults.length > 0)
      expect(faults[0]).toContain("token 1000000")
      const fieldOf = (bytes: Uint8Array) =>
        Either.match(engine.receive(bytes), { onLeft: ({ field }) => field, onRight: () => "" })
      expect(fieldOf(new Uint8Array(7))).toBe("header")
      expect(fieldOf(StageFrame.encode({ kind: "close", epoch: 1, job: 1 }))).toBe("kind")
    })
  )
})

describe("the engine of a pipeline whose host", () => {
  const misbehaving = (manner: string, changes: Partial<typeof EngineConfig.Encoded> = {}) =>
    Effect.gen(function* () {
      const { stages, whole } = yield* cut("Q4_K_M", [3])
      const hostCommand = [process.execPath, join(import.meta.dir, "fixtures", "host.ts"), manner] as const
      const config = settings({ hostCommand, ...changes })
      return (yield* pipeline(whole, stages.slice(0, 1), { config })).engine
    })

  it.live("is stuck with work is given up", () =>
    Effect.gen(function* () {
      const engine = yield* misbehaving("stuck", { turnDeadline: Duration.millis(200) })
      const answering = yield* Effect.fork(answer(engine, request(task(20, 1))))
      expect((yield* Effect.flip(engine.ended)).message).toMatch(/silent for 200ms/)
      expect((yield* Fiber.join(answering)).last).toMatchObject({ failure: { code: "engine_lost" } })
    })
  )

  it.live("says what is no frame, or no event, is given up", () =>
    Effect.gen(function* () {
      for (const manner of ["spoilt", "inventive"]) {
        const ended = Effect.flatMap(misbehaving(manner), (engine) => engine.ended)
        expect((yield* Effect.flip(ended)).reason).toBe("protocol_broken")
      }
    })
  )

  it.live("is never ready, or dies at the start, says why", () =>
    Effect.gen(function* () {
      const slow = misbehaving("neverReady", { loadDeadline: Duration.millis(500) })
      expect((yield* Effect.flip(slow)).reason).toBe("load_timeout")
      expect((yield* Effect.flip(misbehaving("asserts"))).message).toMatch(/SIGABRT.*GGML_ASSERT/s)
    })
  )

  it.live("is told what it cannot read says so", () =>
    Effect.gen(function* () {
      const { stages, whole } = yield* cut("Q4_K_M", [3])
      const { engine } = yield* pipeline(whole, stages)
      yield* generate(engine, ask("hello", { stop: [""] }))
      expect((yield* Effect.flip(engine.ended)).message).toContain("at least 1 character")
    })
  )
})

describe("the engine of a pipeline", () => {
  it.live(
    "frees the slot of a cancelled answer on all stages and gives it to the next",
    () =>
      Effect.gen(function* () {
        const { stages, whole } = yield* cut("Q4_K_M", [2, 4])
        const last = request(task(50, 2))
        const [wanted] = yield* solo(whole, [last])
        const { engine, sent, stages: running } = yield* pipeline(whole, stages, lines)
        const cancels = requests.map((one) => engine.generate({ ...one, maxTokens: 200 }, () => {}))
        const waiting = yield* Effect.fork(answer(engine, last))
        yield* until(() => running().every((stage) => stage.jobs() === slots))
        yield* Effect.repeat(engine.load, { until: ({ active, queued }) => active === slots && queued === 1 })
        for (const cancel of cancels) cancel()
        expect(seen(yield* Fiber.join(waiting))).toEqual(wanted === undefined ? expect.anything() : seen(wanted))
        yield* until(() => running().every((stage) => stage.jobs() === 0))
        expect(sent.filter(({ kind }) => kind === "close").length).toBe(5)
        expect(yield* engine.load).toMatchObject({ active: 0, queued: 0 })
      }),
    60_000
  )

  it.live("ends with its host, and its answers fail so that others can go on with them", () =>
    Effect.gen(function* () {
      const { stages, whole } = yield* cut("Q4_K_M", [3])
      const { engine, sent } = yield* pipeline(whole, stages, lines)
      const answering = yield* Effect.fork(answer(engine, request(task(20, 1))))
      yield* until(() => sent.length > 3)
      const processId = yield* engine.hostProcessId
      process.kill(processId ?? 0, "SIGKILL")
      const error = yield* Effect.flip(engine.ended)
      expect(error.message).toContain("SIGKILL")
      expect((yield* Fiber.join(answering)).last).toMatchObject({ _tag: "Failed", failure: { code: "engine_lost" } })
      expect((yield* answer(engine, request(task(20, 1)))).last).toMatchObject({ failure: { code: "engine_lost" } })
      expect(yield* engine.load).toMatchObject({ state: "stopped" })
      engine.connect(9)
      engine.disconnect()
    })
  )

  it.live("is not made of a stage that is not the first, nor where it does not fit", () =>
    Effect.gen(function* () {
      const { stages, whole } = yield* cut("Q4_K_M", [3])
      const refused = (file: number, memoryBytesMax: number) =>
        Effect.map(
          Effect.flip(Effect.scoped(pipeline(whole, stages.slice(file), { memoryBytesMax }))),
          ({ reason }) => reason
        )
      expect(yield* refused(1, 1e9)).toBe("file_rejected")
      expect(yield* refused(0, 1e3)).toBe("model_unloadable")
    })
  )
})
