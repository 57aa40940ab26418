/**
 * How far a model that is cut into stages goes from the whole one when the hidden states between them are stored as
 * less: both read the same text, and at each of its last tokens they say which token they hold for the likeliest next
 * one. What one of them answers never reaches the other, so a difference is of that position alone.
 */
import { join } from "node:path"
import { EngineConfig } from "@weft/engine/EngineConfig"
import { greedy } from "@weft/engine/Generation"
import * as GgufSource from "@weft/engine/GgufSource"
import * as ModelFile from "@weft/engine/ModelFile"
import type { ActivationType } from "@weft/engine/pipeline/Activations"
import * as StageFrame from "@weft/engine/pipeline/StageFrame"
import * as StageLaunch from "@weft/engine/pipeline/StageLaunch"
import * as StageOpening from "@weft/engine/pipeline/StageOpening"
import { promptRowsMax } from "@weft/engine/pipeline/StageWindow"
import * as StageFile from "@weft/engine/stage/StageFile"
import * as StageLayout from "@weft/engine/stage/StageLayout"
import * as StageRules from "@weft/engine/stage/StageRules"
import { Effect, Either, Schema } from "effect"

/** Represents what is measured. */
export interface ForcedOptions {
  /** A GGUF file. */
  readonly path: string
  /** Where the stages are written; they stay there. */
  readonly folder: string
  /** Positions that are compared, where the model's context holds them. */
  readonly tokens: number
  /** Stages of the cut model, if it can be cut so often. */
  readonly stages: number
  readonly threads: number
  readonly types: ReadonlyArray<ActivationType>
}

/** Represents what stages with one type between them did. */
export interface Forced {
  readonly type: ActivationType
  /** Part of the positions at which stages and whole model hold the same token for the likeliest, 0…1. */
  readonly agreement: number
  /** The first position at which they do not; none where they always do. */
  readonly firstDivergence: number | null
  /** Bytes of a frame with one row, on one edge: its header, its token and its hidden state. */
  readonly bytesPerToken: number
  /** Part of the windows that went as `f32`, as the type does not hold them, 0…1. */
  readonly asF32: number
}

/** Represents a model that was measured. */
export interface ForcedModel {
  readonly architecture: string
  /** Values of a hidden state. */
  readonly width: number
  readonly cuts: ReadonlyArray<number>
  /** Positions that were compared. */
  readonly tokens: number
  /** Tokens that the whole model holds for the likeliest, how many of them are different. */
  readonly likeliest: number
  readonly outcomes: ReadonlyArray<Forced>
}

/** Compares the stages of a model with the whole; fails where it cannot be opened or cut. */
export const measure = Effect.fn("Forced.measure")(function* (asked: ForcedOptions) {
  const whole = yield* ModelFile.open(asked.path)
  const rules = yield* StageRules.rulesOf(whole.header)
  const { layers } = rules
  const even = Array.from({ length: asked.stages - 1 }, (_, index) => ((index + 1) * layers) / asked.stages)
  const nearest = even.map((cut) => StageRules.nearestCut(rules, Math.round(cut))?.cut ?? 0)
  const cuts = [...new Set(nearest)].filter((cut) => cut > 0).toSorted((one, other) => one - other)
  if (cuts.length === 0) return yield* Effect.fail(new Error(`${asked.path} cannot be cut`))
  // A model may want a token before the text.
  const tokens = Math.min(asked.tokens, whole.header.contextTokens - promptTokensMax - 1)
  if (tokens < 1) return yield* Effect.fail(new Error(`the context of ${asked.path} is too short`))
  const options = { ...asked, tokens }
  const read = yield* Effect.scoped(
    Effect.gen(function* () {
      const loops = yield* openStages(options, whole, [0, layers])
      const text = loops[0]?.llama.text
      const said = [...(text?.tokenize(prose, false) ?? [])]
      const promptTokens = Math.min(promptTokensMax, said.length)
      const first = text?.firstToken === undefined ? [] : [text.firstToken]
      const all = Array.from({ length: promptTokens + tokens }, (_, at) => said[at % said.length] ?? 0)
      const reading = { tokens: Int32Array.from([...first, ...all]), promptTokens: first.length + promptTokens }
      return { ...reading, likeliest: pass(loops, reading, "f32").likeliest }
    })
  )
  return yield* Effect.scoped(
    Effect.map(openStages(options, whole, [0, ...cuts, layers]), (loops): ForcedModel => {
      const outcomes = options.types.map((type, index) => {
        const passed = pass(loops, { ...read, epoch: index + 1 }, type)
        const differs = read.likeliest.map((token, at) => token !== passed.likeliest[at])
        const first = differs.indexOf(true)
        return {
          type,
          agreement: 1 - differs.filter((one) => one).length / differs.length,
          firstDivergence: first < 0 ? null : first,
          bytesPerToken: passed.rowBytes / Math.max(1, passed.rows),
          asF32: passed.asF32 / Math.max(1, passed.windows)
        }
      })
      const { architecture, embeddingLength } = whole.header
      const various = new Set(read.likeliest).size
      return { architecture, width: embeddingLength, cuts, tokens, likeliest: various, outcomes }
    })
  )
})

// internal

/** More than a chunk of prompts has, so that several windows of one go through the edges too. */
const promptTokensMax = 160
/** A file and its cells take what they take: a model too large for the memory is for another computer. */
const memoryBytesMax = Number.MAX_SAFE_INTEGER

/** Plain sentences, so that a model that knows language is as sure of what follows as it mostly is. */
const prose = `The river had been rising since the morning, and by noon the lower road was under water. Nobody in the
village was surprised: it happened every spring, when the snow on the hills melted faster than the ground could drink
it. The baker moved his flour to the upper floor, the teacher sent the children home, and the old bridge was closed
with a rope and a lantern. In the evening the neighbours met in the hall above the mill. They talked about the dam that
had been promised for twenty years, about the price of sand, and about the summer of the great drought, when one could
walk from one bank to the other without wetting a shoe. Towards midnight the rain stopped. Someone opened a window, and
they heard that the sound of the water had changed; it was lower now, and slower, as if it were tired too. The next day
the road was brown and soft, and the first cart that tried it sank to its axle before the church.`

interface Reading {
  readonly tokens: Int32Array
  /** Those before the first position that is compared. */
  readonly promptTokens: number
  readonly epoch?: number
}

/** Opens the stages between these bounds in this process, in their order; they are closed with the scope. */
const openStages = Effect.fnUntraced(function* (
  { folder, path, threads, tokens }: ForcedOptions,
  { header, sha256 }: ModelFile.ModelFile,
  bounds: ReadonlyArray<number>
) {
  const source = GgufSource.fromBytes(Bun.mmap(path))
  const contextTokens = promptTokensMax + tokens + 1
  const config = yield* Schema.decode(EngineConfig)({ contextTokens, slots: 1, threads })
  const opened: Array<StageOpening.OpenStage> = []
  for (const [index, to] of bounds.slice(1).entries()) {
    const from = bounds[index] ?? 0
    const out = join(folder, `${sha256.slice(0, 12)}.${from}-${to}.gguf`)
    yield* StageFile.write(source, yield* StageLayout.make(header, { from, to }), out)
    const file = yield* ModelFile.open(out, { kind: "stage" })
    const { load } = yield* StageLaunch.make({ file, config, memoryBytesMax })
    opened.push(yield* StageOpening.open(load(undefined), () => {}))
  }
  return opened
})

/** Reads the text through the stages, the hidden states stored as `type` on each edge. */
const pass = (
  stages: ReadonlyArray<StageOpening.OpenStage>,
  { epoch = 1, promptTokens, tokens }: Reading,
  type: ActivationType
) => {
  const name = { epoch, job: 0 }
  const drawn: Array<number> = []
  const counts = { rows: 0, rowBytes: 0, windows: 0, asF32: 0 }
  const give = (index: number, frame: StageFrame.StageFrame): void => {
    if (frame.kind === "failed") throw new Error(frame.reason)
    if (frame.kind === "tokens") return void drawn.push(...frame.tokens)
    stages[index]?.loop.submit(frame)
  }
  const over = (frame: StageFrame.StageFrame): StageFrame.StageFrame => {
    const bytes = StageFrame.encode(frame, type)
    if (frame.kind === "window") {
      counts.windows++
      if (type !== "f32" && bytes.length === StageFrame.encode(frame).length) counts.asF32++
      if (frame.tokens.length === 1) counts.rowBytes += bytes.length
      if (frame.tokens.length === 1) counts.rows++
    }
    return Either.getOrThrow(StageFrame.decode(bytes))
  }
  const send = (frame: StageFrame.StageFrame): void => {
    give(0, frame)
    for (const [index, { loop }] of stages.entries())
      while (!loop.idle()) for (const next of loop.turn()) give(index + 1, over(next))
  }
  const contextTokens = tokens.length
  send({ kind: "open", ...name, terms: { seed: 0, sampling: greedy, promptTokens, contextTokens } })
  let window = 0
  // The first draw is behind the prompt, so the last token is not needed.
  for (let position = 0; position < tokens.length - 1; window++) {
    const isPrompt = position < promptTokens - 1
    const rows = isPrompt ? Math.min(promptRowsMax, promptTokens - 1 - position) : 1
    const place = { ...name, round: 0, window, position, drawn: isPrompt ? 0 : 1 }
    send({ kind: "window", ...place, tokens: tokens.subarray(position, position + rows), hidden: undefined })
    position += rows
  }
  return { likeliest: drawn, ...counts }
}
