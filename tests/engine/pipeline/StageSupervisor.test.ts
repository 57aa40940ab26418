/**
 * Stages in real child processes: what they give together is what the whole model gives in the exact profile, and what
 * goes wrong in or around one of them ends at its supervisor.
 */
import { describe, expect } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { EngineConfig } from "@weft/engine/EngineConfig"
import * as EngineSupervisor from "@weft/engine/EngineSupervisor"
import * as ModelFile from "@weft/engine/ModelFile"
import type { ActivationType } from "@weft/engine/pipeline/Activations"
import * as StageFrame from "@weft/engine/pipeline/StageFrame"
import * as StageSupervisor from "@weft/engine/pipeline/StageSupervisor"
import { Duration, Effect, Either, Mailbox, Schedule, Schema } from "effect"
import { it } from "../../support/effect.ts"
import { directory } from "../../support/processes.ts"
import { answer, ask, models } from "../asking.ts"
import { contextTokens, cut, drafting, drive, host, task, truth } from "./staging.ts"

const slots = 4

const config = (changes: Partial<typeof EngineConfig.Encoded> = {}) =>
  Schema.decodeSync(EngineConfig)({ contextTokens, slots, threads: 1, ...changes })

const start = (file: ModelFile.ModelFile, changes: Partial<StageSupervisor.StageOptions> = {}) =>
  StageSupervisor.make({
    file,
    config: config(),
    memoryBytesMax: 1e9,
    lease: Duration.seconds(60),
    onFrame: () => {},
    ...changes
  })

/** Starts a stage whose frames wait in a mailbox. */
const heard = (file: ModelFile.ModelFile, changes: Partial<StageSupervisor.StageOptions> = {}) =>
  Effect.gen(function* () {
    const mailbox = yield* Mailbox.make<StageFrame.StageFrame>()
    const stage = yield* start(file, {
      onFrame: (frame) => mailbox.unsafeOffer(Either.getOrThrow(StageFrame.decode(frame))),
      ...changes
    })
    const send = (frame: StageFrame.StageFrame) => Either.getOrThrow(stage.send(StageFrame.encode(frame)))
    return { stage, send, take: Effect.raceFirst(Effect.orDie(mailbox.take), Effect.orDie(stage.ended)) }
  })

/** Starts stages in a row; what is for the host waits in a mailbox. */
const line = (files: ReadonlyArray<ModelFile.ModelFile>) =>
  Effect.gen(function* () {
    const mailbox = yield* Mailbox.make<StageFrame.StageFrame>()
    const stages: Array<StageSupervisor.Stage> = []
    const give = (index: number, frame: Uint8Array) => Either.getOrThrow(stages[index]?.send(frame) ?? Either.void)
    for (const [index, file] of files.entries())
      stages.push(
        yield* start(file, {
          onFrame: (frame, { isForHost }) => {
            if (isForHost) mailbox.unsafeOffer(Either.getOrThrow(StageFrame.decode(frame)))
            else give(index + 1, frame)
          }
        })
      )
    const send = (frame: StageFrame.StageFrame) => give(0, StageFrame.encode(frame))
    const ended = Effect.raceAll(stages.map((stage) => stage.ended))
    return { stages, send, received: Effect.orDie(Effect.raceFirst(mailbox.take, ended)) }
  })

/** Waits until `condition` holds; each test's own deadline bounds it. */
const until = (condition: () => boolean) =>
  Effect.repeat(Effect.sync(condition), { until: (holds) => holds, schedule: Schedule.spaced("5 millis") })

const tasks = [task(300, 1), task(130, 2), task(64, 3), task(7, 4)]

/** Returns the row of a job that begins with these tokens. */
const row = (tokens: ReadonlyArray<number>, changes: Partial<StageFrame.Window> = {}): StageFrame.Window => ({
  kind: "window",
  epoch: 1,
  job: 0,
  round: 0,
  window: 0,
  position: 0,
  drawn: 0,
  tokens: Int32Array.from(tokens),
  hidden: undefined,
  ...changes
})

const open = (job: number, changes: Partial<StageFrame.JobTerms> = {}): StageFrame.Open => {
  const { sampling, seed } = task(7, 1)
  return { kind: "open", epoch: 1, job, terms: { seed, sampling, promptTokens: 4, contextTokens, ...changes } }
}

describe("child processes", () => {
  for (const places of [[3], [2, 4], [1, 2, 5]])
    it.live(
      `with a model cut at ${places} give four answers at once, those of the engine's exact profile`,
      () =>
        Effect.gen(function* () {
          const { stages, whole } = yield* cut("Q4_K_M", places)
          const wanted = yield* truth(whole, tasks)
          const running = yield* line(stages)
          const hosts = tasks.map((one, job) => host(job, one, wanted[job]?.length ?? 0))
          yield* drive(hosts, running.send, running.received)
          expect(hosts.map(({ tokens }) => tokens)).toEqual([...wanted])
          // The last close is still on its way.
          yield* until(() => running.stages.every(({ jobs }) => jobs() === 0))
        }),
      60_000
    )

  it.live(
    "give the same with drafts that are all right, all wrong, right in part, and none",
    () =>
      Effect.gen(function* () {
        const { stages, whole } = yield* cut("Q4_K_M", [2, 4])
        const wanted = yield* truth(whole, tasks)
        const running = yield* line(stages)
        const hosts = tasks.map((one, job) => {
          const known = wanted[job] ?? []
          const right = [4, 0, 2][job]
          return host(job, one, known.length, right === undefined ? undefined : drafting(known, () => right, 4))
        })
        yield* drive(hosts, running.send, running.received)
        expect(hosts.map(({ tokens }, job) => tokens.slice(0, wanted[job]?.length))).toEqual(
          [...wanted].map((all) => [...all])
        )
        expect(hosts.map((one) => one.rejections() > 5)).toEqual([false, true, true, false])
      }),
    60_000
  )

  it.live(
    "give what an engine host of the whole model gives in a process of its own",
    () =>
      Effect.gen(function* () {
        const { stages, whole } = yield* cut("Q8_0", [2])
        const engine = yield* EngineSupervisor.make({
          path: whole.path,
          modelId: "m",
          profile: "exact",
          contextTokens,
          threads: 1
        })
        const wanted = yield* Effect.forEach(tasks, ({ maxTokens, prompt, sampling, seed }) =>
          answer(engine, ask({ _tag: "Tokens", tokens: prompt }, { sampling: { ...sampling, seed }, maxTokens }))
        )
        const running = yield* line(stages)
        const hosts = tasks.map((one, job) => host(job, one, wanted[job]?.tokens.length ?? 0))
        yield* drive(hosts, running.send, running.received)
        expect(hosts.map(({ tokens }) => tokens)).toEqual(wanted.map(({ tokens }) => [...tokens]))
      }),
    60_000
  )
})

describe("a stage whose host", () => {
  const misbehaving = (manner: string, changes: Partial<typeof EngineConfig.Encoded> = {}) =>
    Effect.gen(function* () {
      const { stages } = yield* cut("Q4_K_M", [3])
      const [file] = stages
      if (file === undefined) throw new Error("no stage")
      const hostCommand = [process.execPath, join(import.meta.dir, "fixtures", "host.ts"), manner] as const
      return yield* start(file, { config: config({ hostCommand, ...changes }) })
    })

  it.live("is stuck with work is given up", () =>
    Effect.gen(function* () {
      const stage = yield* misbehaving("stuck", { turnDeadline: Duration.millis(200) })
      Either.getOrThrow(stage.send(StageFrame.encode(open(0))))
      expect((yield* Effect.flip(stage.ended)).message).toMatch(/silent for 200ms/)
    })
  )

  it.live("says what is no frame, or no event, is given up", () =>
    Effect.gen(function* () {
      for (const manner of ["spoilt", "inventive"]) {
        const ended = Effect.flatMap(misbehaving(manner), (stage) => stage.ended)
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
})

describe("a stage", () => {
  it.live("that is killed takes nothing with it and says how it ended", () =>
    Effect.gen(function* () {
      const { stages } = yield* cut("Q4_K_M", [3])
      const [file] = stages
      if (file === undefined) throw new Error("no stage")
      const { send, stage, take } = yield* heard(file)
      send(open(0))
      expect(yield* take).toEqual(open(0))
      process.kill(stage.processId, "SIGKILL")
      const error = yield* Effect.flip(stage.ended)
      expect(error.reason).toBe("host_lost")
      expect(error.message).toContain("SIGKILL")
      // Nobody listens any more.
      send(row([1, 2, 3, 4]))
    })
  )

  it.live("that is done with its work has nothing left and another can take its place", () =>
    Effect.gen(function* () {
      const { stages } = yield* cut("Q4_K_M", [3])
      const [file] = stages
      if (file === undefined) throw new Error("no stage")
      const give = Effect.gen(function* () {
        const { send, take } = yield* heard(file)
        send(open(0))
        send(row([1, 2, 3, 4], { drawn: 1 }))
        yield* take
        return yield* take
      })
      const first = yield* Effect.scoped(give)
      expect(yield* Effect.scoped(give)).toEqual(first)
      expect(first.kind === "window" ? first.hidden?.length : 0).toBe(4 * 256)
    })
  )

  it.live("stores what it gives out as it is told, and is not started where that cannot be", () =>
    Effect.gen(function* () {
      const { stages } = yield* cut("Q4_K_M", [3])
      const [file, tail] = stages
      if (file === undefined || tail === undefined) throw new Error("no stage")
      const given = (activations: ActivationType) =>
        Effect.scoped(
          Effect.gen(function* () {
            const frames = yield* Mailbox.make<Uint8Array>()
            const stage = yield* start(file, { activations, onFrame: (frame) => frames.unsafeOffer(frame) })
            for (const frame of [open(0), row([1, 2, 3, 4])]) stage.send(StageFrame.encode(frame))
            yield* frames.take
            return yield* frames.take
          })
        )
      const whole = Either.getOrThrow(StageFrame.decode(yield* given("f32")))
      for (const type of ["f16", "q8"] as const) expect(yield* given(type)).toEqual(StageFrame.encode(whole, type))
      const odd = (one: ModelFile.ModelFile) => ({ ...one, header: { ...one.header, embeddingLength: 250 } })
      const refused = yield* Effect.flip(start(odd(file), { activations: "q8" }))
      expect(refused.reason).toBe("model_unloadable")
      expect(refused.message).toContain("rows of 250 values are no whole blocks of 32, as q8 has them; take f16 or f32")
      // The last one gives none out.
      yield* start(odd(tail), { activations: "q8" })
    })
  )

  it.live("closes a job that nobody is heard of, and its slot is free again", () =>
    Effect.gen(function* () {
      const { stages } = yield* cut("Q4_K_M", [3])
      const [file] = stages
      if (file === undefined) throw new Error("no stage")
      const one = { config: config({ slots: 1 }), lease: Duration.millis(200) }
      const { send, stage, take } = yield* heard(file, one)
      send(open(7))
      expect(yield* take).toEqual(open(7))
      send(open(8))
      expect(yield* take).toMatchObject({ kind: "failed", job: 8, reason: "all 1 slots are taken" })
      expect(yield* take).toEqual({ kind: "close", epoch: 1, job: 7 })
      expect(stage.jobs()).toBe(0)
      send(open(8))
      expect(yield* take).toEqual(open(8))
    })
  )

  it.live("is not started where it does not fit, where it is none, and where llama.cpp refuses it", () =>
    Effect.gen(function* () {
      const { stages } = yield* cut("Q4_K_M", [3])
      const [file] = stages
      if (file === undefined) throw new Error("no stage")
      const refused = (changes: Partial<StageSupervisor.StageOptions>) =>
        Effect.map(Effect.flip(Effect.scoped(start(file, changes))), ({ reason }) => reason)
      expect(yield* refused({ memoryBytesMax: file.sizeBytes })).toBe("model_unloadable")
      expect(yield* refused({ file: yield* ModelFile.open(models.nano) })).toBe("file_rejected")
      const broken = join(yield* directory, "broken.gguf")
      writeFileSync(broken, "GGUF")
      expect(yield* refused({ file: { ...file, path: broken } })).toBe("model_unloadable")
    })
  )

  it.live("refuses bytes that are no frame for it, and fails the job of a frame that is spoilt", () =>
    Effect.gen(function* () {
      const { stages } = yield* cut("Q4_K_M", [3])
      const [file] = stages
      if (file === undefined) throw new Error("no stage")
      const { stage, take } = yield* heard(file)
      const fieldOf = (bytes: Uint8Array) =>
        Either.match(stage.send(bytes), { onLeft: ({ field }) => field, onRight: () => "" })
      expect(fieldOf(new Uint8Array(8))).toBe("header")
      const tokens: StageFrame.StageFrame = { ...row([1], { drawn: 1 }), kind: "tokens" }
      expect(fieldOf(StageFrame.encode(tokens))).toBe("kind")
      expect(fieldOf(StageFrame.encode(row([1])).subarray(0, 34))).toBe("")
      expect(yield* take).toMatchObject({ kind: "failed", epoch: 1, job: 0 })
    })
  )
})
