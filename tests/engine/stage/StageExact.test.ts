/**
 * For every architecture and several cuts, the stages together give token for token what the whole model gives in the
 * exact profile: one answer of the likeliest tokens and one that is drawn, at once. The weights are random, so the
 * smallest change of a computation shows.
 */
import { expect } from "bun:test"
import { join } from "node:path"
import { EngineConfig } from "@weft/engine/EngineConfig"
import * as ModelFile from "@weft/engine/ModelFile"
import * as StageFrame from "@weft/engine/pipeline/StageFrame"
import * as StageLoop from "@weft/engine/pipeline/StageLoop"
import * as StageSupervisor from "@weft/engine/pipeline/StageSupervisor"
import * as StageWindow from "@weft/engine/pipeline/StageWindow"
import * as StageFile from "@weft/engine/stage/StageFile"
import { isFirst, isLast } from "@weft/engine/stage/StageKeys"
import * as StageLayout from "@weft/engine/stage/StageLayout"
import { nearestCut, type StageRules } from "@weft/engine/stage/StageRules"
import * as Shape from "@weft/infra/bench/model/Shape"
import { Duration, Effect, Either, Mailbox, Schema } from "effect"
import * as LlamaStage from "../../../packages/engine/src/internal/llama/LlamaStage.ts"
import { it } from "../../support/effect.ts"
import { directory } from "../../support/processes.ts"
import { stageModel, stageModels } from "../../support/stageModels.ts"
import { endToken, greedy } from "../asking.ts"
import { writeModel } from "../looping.ts"
import { contextTokens, drive, host, task, truth, warm } from "../pipeline/staging.ts"
import { openModel, type Prepared, prepare } from "./cutting.ts"

/** No answer ends by itself or says one token again and again. */
const lively = { repeatPenalty: 1.5, logitBias: [[endToken, -100]] } as const
/** A prompt of several windows, longer than any model's window, and one of a single decode. */
const tasks = [
  task(150, 2, { sampling: { ...greedy, ...lively }, maxTokens: 24 }),
  task(40, 3, { sampling: { ...warm, ...lively }, maxTokens: 24 })
]

/** Sets of cuts: halves, thirds, and the shortest stages at the beginning and at the end. */
const cutsOf = (rules: StageRules): ReadonlyArray<ReadonlyArray<number>> => {
  const { layers } = rules
  const asked = [[layers / 2], [layers / 3, (2 * layers) / 3], [1, 2], [layers - 2, layers - 1]]
  const sets = asked.map((set) => [...new Set(set.map((cut) => nearestCut(rules, Math.round(cut))?.cut ?? 0))])
  return [...new Map(sets.map((set) => [set.join(), set])).values()]
}

/** Cuts the model; returns the checked files of its stages. */
const cutAt = Effect.fnUntraced(function* ({ header, path, rules, source }: Prepared, cuts: ReadonlyArray<number>) {
  const bounds = [0, ...cuts, rules.layers]
  return yield* Effect.forEach(bounds.slice(1), (to, index) =>
    Effect.gen(function* () {
      const range = { from: bounds[index] ?? 0, to }
      const out = `${path}.${range.from}-${to}`
      yield* StageFile.write(source, yield* StageLayout.make(header, range), out)
      return yield* ModelFile.open(out, { kind: "stage" })
    })
  )
})

/** Opens a stage in this process; returns its loop. */
const openStage = Effect.fnUntraced(function* ({ header, path }: ModelFile.ModelFile) {
  const stage = header.stage ?? { from: 0, to: 0, layers: 0, inputScale: undefined }
  const sizes = { contextTokens, slots: tasks.length, rowsMax: StageWindow.rowsMax, threads: 1 }
  const ends = { isFirst: isFirst(stage), isLast: isLast(stage) }
  const llama = yield* Effect.acquireRelease(
    Effect.sync(() =>
      LlamaStage.open({ path, accelerator: "cpu", gpuLayers: 0, ...sizes, ...ends, onProgress: () => {} })
    ),
    ({ close }) => Effect.sync(close)
  )
  return StageLoop.make(llama, {
    contextTokens,
    slots: tasks.length,
    pairRows: false,
    inputScale: stage.inputScale
  })
})

/** Returns what the stages answer to each task, of which `counts` says how many tokens there are. */
const answers = Effect.fnUntraced(function* (loops: ReadonlyArray<StageLoop.StageLoop>, counts: ReadonlyArray<number>) {
  const back: Array<StageFrame.StageFrame> = []
  const give = (index: number, bytes: Uint8Array): void => {
    const frame = Either.getOrThrow(StageFrame.decode(bytes))
    if (frame.kind === "tokens" || frame.kind === "failed") back.push(frame)
    else loops[index]?.submit(frame)
  }
  const received = Effect.sync(() => {
    while (back.length === 0)
      for (const [index, loop] of loops.entries())
        for (const frame of loop.turn()) give(index + 1, StageFrame.encode(frame))
    const [first] = back.splice(0, 1)
    if (first === undefined) throw new Error("nothing came back")
    return first
  })
  const hosts = tasks.map((one, job) => host(job, one, counts[job] ?? 0))
  yield* drive(hosts, (frame) => give(0, StageFrame.encode(frame)), received)
  for (const one of hosts) expect(one.failed()).toBeUndefined()
  return hosts.map(({ tokens }) => tokens)
})

const isExact = Effect.fnUntraced(function* (whole: Prepared) {
  const wanted = yield* truth(yield* ModelFile.open(whole.path), tasks)
  expect(wanted.map((tokens) => tokens.length)).toEqual([24, 24])
  expect(new Set(wanted.flat()).size).toBeGreaterThan(12)
  for (const cuts of cutsOf(whole.rules)) {
    const given = yield* Effect.scoped(
      Effect.flatMap(Effect.flatMap(cutAt(whole, cuts), Effect.forEach(openStage)), (loops) =>
        answers(
          loops,
          wanted.map((tokens) => tokens.length)
        )
      )
    )
    expect({ cuts, given }).toEqual({ cuts, given: wanted.map((tokens) => [...tokens]) })
  }
})

for (const model of stageModels)
  it.live(
    `${model.name} answers the same however it is cut`,
    () =>
      Effect.flatMap(
        Effect.flatMap(directory, (folder) => prepare(folder, model)),
        isExact
      ),
    60_000
  )

it.live(
  "a model whose tensors have types of different lengths answers the same however it is cut",
  () =>
    Effect.gen(function* () {
      const folder = join(yield* directory)
      const shape = { ...Shape.touchy, name: "mixed", layers: 6 }
      yield* isExact(yield* openModel(yield* Effect.promise(() => writeModel(folder, shape))))
    }),
  60_000
)

/** Those whose stages a host must treat otherwise: scaled input, zeros for a head, positions of several parts. */
for (const name of ["gemma2", "gpt-oss", "glm4moe"])
  it.live(
    `${name} answers the same out of child processes`,
    () =>
      Effect.gen(function* () {
        const whole = yield* prepare(yield* directory, stageModel(name))
        const wanted = yield* truth(yield* ModelFile.open(whole.path), tasks)
        const back = yield* Mailbox.make<StageFrame.StageFrame>()
        const stages: Array<StageSupervisor.Stage> = []
        const give = (index: number, frame: Uint8Array) => Either.getOrThrow(stages[index]?.send(frame) ?? Either.void)
        for (const [index, file] of (yield* cutAt(whole, [2, 4])).entries())
          stages.push(
            yield* StageSupervisor.make({
              file,
              config: Schema.decodeSync(EngineConfig)({ contextTokens, slots: tasks.length, threads: 1 }),
              memoryBytesMax: 1e9,
              lease: Duration.seconds(60),
              onFrame: (frame, { isForHost }) => {
                if (isForHost) back.unsafeOffer(Either.getOrThrow(StageFrame.decode(frame)))
                else give(index + 1, frame)
              }
            })
          )
        const hosts = tasks.map((one, job) => host(job, one, wanted[job]?.length ?? 0))
        const ended = Effect.raceAll(stages.map((stage) => stage.ended))
        const received = Effect.orDie(Effect.raceFirst(back.take, ended))
        yield* drive(hosts, (frame) => give(0, StageFrame.encode(frame)), received)
        expect(hosts.map(({ tokens }) => tokens)).toEqual(wanted.map((tokens) => [...tokens]))
      }),
    60_000
  )
