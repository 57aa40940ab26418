/**
 * What the tests of stages share: a model cut into stage files, the answers of the whole model in the exact profile,
 * and a host that makes the windows of answers and takes the tokens that come back, whatever carries the frames.
 */
import { join } from "node:path"
import * as BatchLoop from "@weft/engine/BatchLoop"
import type { Sampling } from "@weft/engine/Generation"
import * as ModelFile from "@weft/engine/ModelFile"
import type { Close, Failed, Open, StageFrame, Tokens, Window } from "@weft/engine/pipeline/StageFrame"
import { promptRowsMax } from "@weft/engine/pipeline/StageWindow"
import * as StageFile from "@weft/engine/stage/StageFile"
import * as StageLayout from "@weft/engine/stage/StageLayout"
import { type Shape, touchy } from "@weft/infra/bench/model/Shape"
import { Effect } from "effect"
import { directory } from "../../support/processes.ts"
import { answerOf, ask, greedy } from "../asking.ts"
import { openLlama, runLoop, writeModel } from "../looping.ts"
import { sourceOf } from "../stage/cutting.ts"

/** Tokens of prompt and answer in all tests. */
export const contextTokens = 512

/** Six layers, so that there are cuts at many places. */
export const shape = (quantization: Shape["quantization"]): Shape => ({ ...touchy, quantization, layers: 6 })

/** A chain with everything in it, so that any change of a logit can show. */
export const warm: Sampling = {
  ...greedy,
  temperature: 1,
  topK: 200,
  topP: 0.98,
  minP: 0.001,
  repeatPenalty: 1.1,
  frequencyPenalty: 0.2,
  presencePenalty: 0.1,
  logitBias: [[300, 1.5]]
}

/** Represents an answer to be made. */
export interface Task {
  readonly prompt: ReadonlyArray<number>
  readonly seed: number
  readonly sampling: Sampling
  readonly maxTokens: number
}

/** Returns a task whose prompt has that many tokens. */
export const task = (promptTokens: number, seed: number, options: Partial<Task> = {}): Task => ({
  prompt: [1, ...Array.from({ length: promptTokens - 1 }, (_, index) => 6 + ((index * 37 + seed) % 1000))],
  seed,
  sampling: seed % 2 === 0 ? greedy : warm,
  maxTokens: 40,
  ...options
})

/** Writes a model, and its stages between these cuts; returns their files, the whole one's first. */
export const cut = (quantization: Shape["quantization"], cuts: ReadonlyArray<number>) =>
  Effect.gen(function* () {
    const folder = yield* directory
    const path = yield* Effect.promise(() => writeModel(folder, shape(quantization), 11))
    const whole = yield* ModelFile.open(path)
    const bounds = [0, ...cuts, whole.header.layers]
    const stages: Array<ModelFile.ModelFile> = []
    for (const [index, to] of bounds.slice(1).entries()) {
      const from = bounds[index] ?? 0
      const out = join(folder, `${from}-${to}.gguf`)
      const layout = yield* StageLayout.make(whole.header, { from, to }, { source: whole.sha256 })
      yield* StageFile.write(yield* sourceOf(path), layout, out)
      stages.push(yield* ModelFile.open(out, { kind: "stage" }))
    }
    return { whole, stages }
  })

/** Writes a model of the same shape and vocabulary as `cut` does; with seed 11 and the same quantisation the same. */
export const written = (quantization: Shape["quantization"], seed: number) =>
  Effect.gen(function* () {
    const folder = yield* directory
    const path = yield* Effect.promise(() => writeModel(folder, shape(quantization), seed))
    return yield* ModelFile.open(path)
  })

/** Returns the tokens that the whole model in the exact profile gives each task, alone. */
export const truth = (whole: ModelFile.ModelFile, tasks: ReadonlyArray<Task>) =>
  Effect.promise(async () => {
    const limits = { contextTokens, slots: 1, prefillTokens: 1, profile: "exact" } as const
    const llama = await openLlama({ ...limits, path: whole.path })
    const pairRows = BatchLoop.needsPairs(whole.header.quantization)
    const answers = tasks.map(({ maxTokens, prompt, sampling, seed }) => {
      const request = ask({ _tag: "Tokens", tokens: prompt }, { sampling, maxTokens })
      const loop = BatchLoop.make(llama, { ...limits, pairRows })
      return answerOf(runLoop(loop, [{ request, prompt, seed }])[0] ?? []).tokens
    })
    llama.close()
    return answers
  })

/** Proposes tokens to follow an answer. */
export type Draft = (answer: ReadonlyArray<number>) => ReadonlyArray<number>

/** Returns drafts made of what is known to come: `right` of the first tokens, then wrong ones, `count` in all. */
export const drafting =
  (wanted: ReadonlyArray<number>, right: (at: number) => number, count: number): Draft =>
  ({ length }) =>
    wanted.slice(length, length + count).map((token, index) => (index < right(length) ? token : (token + 1) % 1000))

/** Represents the host's side of one job. */
export interface Host {
  readonly tokens: ReadonlyArray<number>
  readonly failed: () => string | undefined
  readonly isDone: () => boolean
  /** Rounds that drafts were rejected in. */
  readonly rejections: () => number
  readonly begin: () => ReadonlyArray<Open | Window>
  readonly take: (frame: Tokens | Failed) => ReadonlyArray<Window | Close>
}

/** Returns the host's side of a job that makes `count` tokens. */
export const host = (job: number, { prompt, sampling, seed }: Task, count: number, draft: Draft = () => []): Host => {
  const name = { epoch: 1, job }
  const tokens: Array<number> = []
  let failed: string | undefined
  let round = 0
  let window = 0
  const row = (position: number, drawn: number, rows: ReadonlyArray<number>): Window => ({
    kind: "window",
    ...name,
    round,
    window: window++,
    position,
    drawn,
    tokens: Int32Array.from(rows),
    hidden: undefined
  })
  return {
    tokens,
    failed: () => failed,
    isDone: () => failed !== undefined || tokens.length >= count,
    rejections: () => round,
    begin: () => {
      const terms = { seed, sampling, promptTokens: prompt.length, contextTokens }
      const frames: Array<Open | Window> = [{ kind: "open", ...name, terms }]
      for (let at = 0; at < prompt.length; at += promptRowsMax)
        frames.push(row(at, at + promptRowsMax >= prompt.length ? 1 : 0, prompt.slice(at, at + promptRowsMax)))
      return frames
    },
    take: (frame) => {
      if (frame.kind === "failed") failed = frame.reason
      if (frame.kind === "failed") return [{ kind: "close", ...name }]
      if (frame.drawn === 0) return []
      tokens.push(...frame.tokens)
      if (tokens.length >= count) return [{ kind: "close", ...name }]
      if (frame.tokens.length < frame.drawn) {
        round++
        window = 0
      }
      const rows = [tokens.at(-1) ?? 0, ...draft(tokens)]
      return [row(prompt.length + tokens.length - 1, rows.length, rows)]
    }
  }
}

/** Carries the frames of several hosts to a first stage and back until all are done. */
export const drive = (
  hosts: ReadonlyArray<Host>,
  send: (frame: StageFrame) => void,
  received: Effect.Effect<StageFrame>
) =>
  Effect.gen(function* () {
    for (const one of hosts) for (const frame of one.begin()) send(frame)
    while (!hosts.every((one) => one.isDone())) {
      const frame = yield* received
      if (frame.kind === "tokens" || frame.kind === "failed")
        for (const next of hosts[frame.job]?.take(frame) ?? []) send(next)
    }
  })
