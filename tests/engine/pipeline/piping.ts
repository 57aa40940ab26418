/**
 * A pipeline on one computer: the engine of the first stage and the hosts of the others as real child processes,
 * joined by lines of the test's own that take as long as it says. A stage can be replaced while answers are under way.
 */
import { EngineConfig } from "@weft/engine/EngineConfig"
import type * as ModelFile from "@weft/engine/ModelFile"
import * as PipelineEngine from "@weft/engine/pipeline/PipelineEngine"
import type { Peeked } from "@weft/engine/pipeline/StageFrame"
import * as StageSupervisor from "@weft/engine/pipeline/StageSupervisor"
import { Duration, Effect, Either, Exit, Mailbox, Schedule, Schema, Scope } from "effect"
import { contextTokens } from "./staging.ts"
import { seeded } from "./tailing.ts"

/** Answers at once. */
export const slots = 4

/** Represents the lines between stages. */
export interface Lines {
  readonly delayMs: number
  readonly jitterMs: number
  readonly seed: number
}

/** Represents a stage behind the first, and what ends it. */
interface Placed {
  readonly stage: StageSupervisor.Stage
  readonly scope: Scope.CloseableScope
}

/** Represents what a test does to a pipeline. */
export interface Pipeline {
  readonly engine: PipelineEngine.PipelineEngine
  readonly stages: () => ReadonlyArray<StageSupervisor.Stage>
  /** Kills a stage behind the first and starts another in its place, in a new epoch. */
  readonly replace: (index: number) => Effect.Effect<void>
  readonly epoch: () => number
  /** What the engine found fault with, oldest first. */
  readonly faults: ReadonlyArray<string>
  /** What went from the first stage to the second, oldest first. */
  readonly sent: ReadonlyArray<Peeked>
}

/** Returns the settings of hosts in these tests. */
export const settings = (changes: Partial<typeof EngineConfig.Encoded>) =>
  Schema.decodeSync(EngineConfig)({ contextTokens, slots, threads: 1, ...changes })

const describe = (whole: ModelFile.ModelFile) => ({
  id: "m",
  sha256: whole.sha256,
  sizeBytes: whole.sizeBytes,
  architecture: whole.header.architecture,
  quantization: whole.header.quantization,
  contextTokens,
  slots
})

/** A line on which nothing overtakes. */
const line = (lines: Lines, give: (frame: Uint8Array) => void) =>
  Effect.gen(function* () {
    const random = seeded(lines.seed)
    const frames = yield* Mailbox.make<{ readonly frame: Uint8Array; readonly atMs: number }>()
    const clock = yield* Effect.clock
    const pass = Effect.gen(function* () {
      const { atMs, frame } = yield* frames.take
      const leftMs = atMs - clock.unsafeCurrentTimeMillis()
      if (leftMs > 0) yield* Effect.sleep(leftMs)
      give(frame)
    })
    yield* Effect.forkScoped(Effect.forever(pass))
    return (frame: Uint8Array) => {
      const atMs = clock.unsafeCurrentTimeMillis() + lines.delayMs + random() * lines.jitterMs
      frames.unsafeOffer({ frame, atMs })
    }
  })

/** Starts the engine and the stages of these files, the first one's first, and connects them. */
export const pipeline = (
  whole: ModelFile.ModelFile,
  files: ReadonlyArray<ModelFile.ModelFile>,
  options: Partial<Lines & PipelineEngine.PipelineEngineOptions> = {}
) =>
  Effect.gen(function* () {
    const lines = { delayMs: 0, jitterMs: 0, seed: 1, ...options }
    const [file, ...others] = files
    if (file === undefined) return yield* Effect.dieMessage("no stage")
    const places: Array<Placed> = []
    const faults: Array<string> = []
    const sent: Array<Peeked> = []
    let epoch = 1
    // What is for a stage that is gone is lost with it.
    const out = yield* Effect.forEach(files, (_, index) =>
      line({ ...lines, seed: lines.seed + index }, (frame) => void places[index]?.stage.send(frame))
    )
    const engine: PipelineEngine.PipelineEngine = yield* PipelineEngine.make({
      file,
      model: describe(whole),
      config: settings({}),
      memoryBytesMax: 1e9,
      // No lease says here that a stage works.
      stall: Duration.seconds(30),
      onFrame: (frame, about) => {
        sent.push(about)
        out[0]?.(frame)
      },
      onFault: ({ reason }) => void faults.push(reason),
      ...options
    })
    const back = yield* line({ ...lines, seed: lines.seed + 99 }, (frame) => {
      Either.getOrThrow(engine.receive(frame))
    })
    const start = (index: number) =>
      Effect.gen(function* () {
        const next = others[index]
        if (next === undefined) return yield* Effect.dieMessage("no stage")
        const scope = yield* Scope.make()
        yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
        const starting = StageSupervisor.make({
          file: next,
          config: settings({}),
          memoryBytesMax: 1e9,
          lease: Duration.seconds(60),
          onFrame: (frame, { isForHost }) => (isForHost ? back : out[index + 1])?.(frame)
        })
        places[index] = { scope, stage: yield* Scope.extend(Effect.orDie(starting), scope) }
      })
    const own = yield* Effect.scope
    const replace = (index: number) =>
      Effect.gen(function* () {
        const place = places[index]
        if (place === undefined) return yield* Effect.dieMessage("no stage")
        process.kill(place.stage.processId, "SIGKILL")
        yield* Effect.flip(place.stage.ended)
        engine.disconnect()
        yield* Scope.close(place.scope, Exit.void)
        yield* Scope.extend(start(index), own)
        engine.connect(++epoch)
      })
    for (const index of others.keys()) yield* start(index)
    engine.connect(epoch)
    const stages = () => places.map(({ stage }) => stage)
    return { engine, stages, replace, epoch: () => epoch, faults, sent } satisfies Pipeline
  })

/** Waits until `condition` holds; each test's own deadline bounds it. */
export const until = (condition: () => boolean) =>
  Effect.repeat(Effect.sync(condition), { until: (holds) => holds, schedule: Schedule.spaced("5 millis") })
