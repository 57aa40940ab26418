/** What the gate makes of stage files that lie: they may come from other peers, and native code reads them next. */
import { expect } from "bun:test"
import * as GgufGate from "@weft/engine/GgufGate"
import type { GgufReason } from "@weft/engine/GgufRejected"
import * as GgufSource from "@weft/engine/GgufSource"
import * as ModelFile from "@weft/engine/ModelFile"
import * as StageFile from "@weft/engine/stage/StageFile"
import * as StageLayout from "@weft/engine/stage/StageLayout"
import { Effect, Either, FastCheck } from "effect"
import { it } from "../../support/effect.ts"
import { type File, model, sizes, type Tensor, type Value, value, withKeys, write } from "../../support/gguf.ts"
import { directory } from "../../support/processes.ts"
import { stageModel } from "../../support/stageModels.ts"
import { prepare } from "./cutting.ts"

/** The keys of a stage that is layers 2 to 4 of a model of four: its last one. */
const keys: Readonly<Record<string, Value | undefined>> = {
  "weft.stage.from": value.u32(2),
  "weft.stage.to": value.u32(4),
  "weft.stage.layers": value.u32(4)
}
const last = (changes: Readonly<Record<string, Value | undefined>> = {}): File => withKeys({ ...keys, ...changes })

/** A stage between others: no tokenizer, and 32 rows that stand in for the embedding. */
const between = (changes: Readonly<Record<string, Value | undefined>> = {}, rows = 32): File => {
  const noTokenizer = Object.fromEntries(
    model.entries.filter(([key]) => key.startsWith("tokenizer.")).map(([key]) => [key, undefined])
  )
  const file = withKeys({
    ...noTokenizer,
    ...keys,
    "weft.stage.layers": value.u32(6),
    "tokenizer.ggml.model": value.string("no_vocab"),
    "llama.vocab_size": value.u32(32),
    ...changes
  })
  return {
    ...file,
    tensors: file.tensors.map((tensor) =>
      tensor.name === "token_embd.weight" ? { ...tensor, dims: [sizes.embedding, rows] } : tensor
    )
  }
}

const check = (file: File, kind: "model" | "stage") =>
  Effect.either(GgufGate.check(GgufSource.fromBytes(write(file)), kind))

it.live("accepts a stage between others and a last one, and says what they are", () =>
  Effect.gen(function* () {
    const middle = yield* Effect.flatten(check(between(), "stage"))
    expect(middle).toMatchObject({ layers: 2, vocabularySize: 32, tokens: { controlTokens: [] } })
    expect(middle.stage).toEqual({ from: 2, to: 4, layers: 6, source: undefined, inputScale: undefined })
    const tail = yield* Effect.flatten(check(last({ "weft.stage.source": value.string("0f".repeat(32)) }), "stage"))
    expect(tail).toMatchObject({ layers: 2, vocabularySize: 8 })
    expect(tail.stage).toMatchObject({ layers: 4, source: "0f".repeat(32) })
  })
)

const withTensors = (file: File, change: (tensors: ReadonlyArray<Tensor>) => ReadonlyArray<Tensor>): File => ({
  ...file,
  tensors: change(file.tensors)
})
const without = (name: string) => (tensors: ReadonlyArray<Tensor>) => tensors.filter((tensor) => tensor.name !== name)

const bad: ReadonlyArray<readonly [name: string, reason: GgufReason, file: File]> = [
  ["a whole model", "StageFile", model],
  ["no first layer", "StageFile", last({ "weft.stage.from": undefined })],
  ["no last layer", "StageFile", last({ "weft.stage.to": undefined })],
  ["no number of layers", "StageFile", last({ "weft.stage.layers": undefined })],
  ["a first layer of 64 bits", "StageFile", last({ "weft.stage.from": value.u64(2n) })],
  ["a last layer that is a string", "StageFile", last({ "weft.stage.to": value.string("4") })],
  ["a last layer before the first", "StageFile", last({ "weft.stage.to": value.u32(2) })],
  ["a last layer beyond the model", "StageFile", last({ "weft.stage.layers": value.u32(3) })],
  ["a model of 513 layers", "StageFile", last({ "weft.stage.layers": value.u32(513) })],
  ["more layers than it holds", "StageFile", last({ "weft.stage.from": value.u32(1) })],
  ["a key of a stage that is unknown", "StageFile", last({ "weft.stage.run": value.string("x") })],
  ["a source that is no SHA-256", "StageFile", last({ "weft.stage.source": value.string("0F".repeat(32)) })],
  ["a source that is a number", "StageFile", last({ "weft.stage.source": value.u32(1) })],
  ["a scale that nobody asked for", "StageFile", last({ "weft.stage.input_scale": value.f32(0.5) })],
  ["a scale that is no number", "StageFile", last({ "weft.stage.input_scale": value.f32(Number.NaN) })],
  ["a scale that is a string", "StageFile", last({ "weft.stage.input_scale": value.string("1") })],
  ["layers that draft", "StageFile", last({ "llama.nextn_predict_layers": value.u32(1) })],
  ["a block that is missing", "BadShape", last({ "llama.block_count": value.u32(3), "weft.stage.from": value.u32(1) })],
  ["no last norm", "BadShape", withTensors(last(), without("output_norm.weight"))],
  ["no embedding", "BadShape", withTensors(last(), without("token_embd.weight"))],
  [
    "a tensor without a place",
    "StageFile",
    withTensors(last(), (tensors) => [...tensors, { name: "position_embd.weight", dims: [32, 32], type: 1 }])
  ],
  ["an architecture that cannot be cut", "StageFile", renamed("bloom")],
  ["a last stage without a tokenizer", "BadTokenizer", last({ "tokenizer.ggml.model": value.string("no_vocab") })],
  [
    "a middle stage with a key more of a tokenizer",
    "BadTokenizer",
    between({ "tokenizer.ggml.pre": value.string("x") })
  ],
  [
    "a middle stage with tokens",
    "BadTokenizer",
    between({ "tokenizer.ggml.tokens": value.array([value.string("a")]) })
  ],
  ["a middle stage with another tokenizer", "BadTokenizer", between({ "tokenizer.ggml.model": value.string("gpt2") })],
  ["a middle stage of more tokens", "BadTokenizer", between({ "llama.vocab_size": value.u32(2 ** 31) })],
  ["a middle stage that does not say how many tokens", "BadTokenizer", between({ "llama.vocab_size": undefined })],
  ["a middle stage of fewer rows", "BadShape", between({}, 16)]
]

/** A last stage of another architecture, with the same sizes. */
function renamed(architecture: string, changes: Readonly<Record<string, Value | undefined>> = {}): File {
  const file = last(changes)
  return {
    ...file,
    entries: file.entries.map(([key, entry]) =>
      key === "general.architecture"
        ? ([key, value.string(architecture)] as const)
        : ([key.replace(/^llama\./, `${architecture}.`), entry] as const)
    )
  }
}

for (const [name, reason, file] of bad)
  it.live(`refuses as a stage ${name}: ${reason}`, () =>
    Effect.gen(function* () {
      const outcome = yield* check(file, "stage")
      expect(Either.isLeft(outcome) ? outcome.left.reason : "accepted").toBe(reason)
    })
  )

it.live("a stage of windows states which layers have them, and begins with one", () =>
  Effect.gen(function* () {
    const pattern = (...values: ReadonlyArray<number>) => value.array(values.map(value.bool))
    const gemma2 = (changes: Readonly<Record<string, Value | undefined>>) =>
      check(
        renamed("gemma2", { "weft.stage.input_scale": value.f32(1 / Math.sqrt(sizes.embedding)), ...changes }),
        "stage"
      )
    const key = "llama.attention.sliding_window_pattern"
    expect(Either.isRight(yield* gemma2({ [key]: pattern(1, 0) }))).toBe(true)
    for (const windows of [undefined, value.u32(2), pattern(0, 1), pattern(0, 0), pattern(1), pattern(1, 0, 1)])
      expect(Either.isLeft(yield* gemma2({ [key]: windows }))).toBe(true)
    for (const scale of [undefined, value.f32(1), value.f32(Number.POSITIVE_INFINITY)])
      expect(Either.isLeft(yield* gemma2({ [key]: pattern(1, 0), "weft.stage.input_scale": scale }))).toBe(true)
  })
)

it.live("a stage is no model: the gate refuses it as one, and says what to do", () =>
  Effect.gen(function* () {
    for (const file of [last(), last({ "weft.stage.from": value.u32(0), "weft.stage.layers": undefined })]) {
      const outcome = yield* check(file, "model")
      expect(Either.isLeft(outcome) ? outcome.left.reason : "accepted").toBe("StageFile")
    }
    const path = `${yield* directory}/stage.gguf`
    yield* Effect.promise(() => Bun.write(path, write(last())))
    const error = yield* Effect.flip(ModelFile.open(path))
    expect(error.message).toContain("Use the whole model's file")
    expect((yield* ModelFile.open(path, { kind: "stage" })).header.stage?.from).toBe(2)
  })
)

it.live(
  "spoilt headers of real stages are accepted or refused, never a throw",
  () =>
    Effect.gen(function* () {
      const folder = yield* directory
      for (const name of ["gemma3", "deepseek2", "gpt-oss"]) {
        const { header, rules, source } = yield* prepare(folder, stageModel(name))
        const layout = yield* StageLayout.make(header, { from: 4, to: rules.layers }, { source: "0f".repeat(32) })
        const path = `${folder}/${name}.stage.gguf`
        yield* StageFile.write(source, layout, path)
        const original = yield* Effect.promise(() => Bun.file(path).bytes())
        // The tokenizer's entries, which are the same as a whole model's, are most of the header.
        const ours = Buffer.from(original).lastIndexOf("weft.stage.from")
        const spot = FastCheck.oneof(
          FastCheck.integer({ min: 0, max: 2000 }),
          FastCheck.integer({ min: ours - 500, max: layout.dataOffset - 1 })
        )
        const changes = FastCheck.array(FastCheck.tuple(spot, FastCheck.nat(255)), { minLength: 1, maxLength: 3 })
        let refused = 0
        for (const change of FastCheck.sample(changes, { numRuns: 300, seed: 20_26 })) {
          const spoilt = original.slice()
          for (const [at, byte] of change) spoilt[at] = byte
          const outcome = yield* Effect.either(GgufGate.check(GgufSource.fromBytes(spoilt), "stage"))
          if (Either.isLeft(outcome)) refused++
          else expect(outcome.right.stage).toBeDefined()
        }
        expect(refused).toBeGreaterThan(100)
      }
    }),
  60_000
)
