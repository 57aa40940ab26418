/** Where models may be cut: every row of the table, the nearest cut with its reason, and what is refused and why. */
import { expect } from "bun:test"
import type { GgufEntry, GgufHeader } from "@weft/engine/GgufHeader"
import { layerSizes } from "@weft/engine/stage/LayerSizes"
import * as StageLayout from "@weft/engine/stage/StageLayout"
import type { StageReason } from "@weft/engine/stage/StageRefused"
import { nearestCut, refusalOf, rulesOf } from "@weft/engine/stage/StageRules"
import { Effect, Either, FastCheck } from "effect"
import { it } from "../../support/effect.ts"
import { directory } from "../../support/processes.ts"
import { stageModel, stageModels } from "../../support/stageModels.ts"
import { type Prepared, prepare } from "./cutting.ts"

const modelOf = (name: string) => Effect.flatMap(directory, (folder) => prepare(folder, stageModel(name)))

const inner = (layers: number) => Array.from({ length: layers - 1 }, (_, index) => index + 1)

/** Allowed cuts of each model; those of six layers that are all alike are not written out. */
const cuts: Readonly<Record<string, ReadonlyArray<number>>> = {
  gemma2: [2, 4],
  gemma3: [1, 2, 3, 4, 6, 7],
  "gpt-oss": [2, 4],
  olmo2: [1, 2, 4, 5],
  cohere2: [1, 3, 4],
  "deepseek2-small": inner(27)
}

for (const model of stageModels)
  it.live(`${model.name} may be cut where its rules say`, () =>
    Effect.gen(function* () {
      const { rules } = yield* modelOf(model.name)
      expect(rules.allowedCuts).toEqual(cuts[model.name] ?? inner(6))
      expect(rules.layers).toBe(model.layers)
      expect(rules.isExact).toBe(true)
    })
  )

/** Returns the header with whole numbers for some keys of its architecture; `undefined` takes one away. */
const withNumbers = (
  { header }: Pick<Prepared, "header">,
  numbers: Readonly<Record<string, number | undefined>>,
  change: Partial<GgufHeader> = {}
): GgufHeader => {
  const metadata = new Map(header.metadata)
  for (const [name, value] of Object.entries(numbers)) {
    const key = `${header.architecture}.${name}`
    metadata.delete(key)
    const entry: GgufEntry = { key, type: "uint32", value: value ?? 0, offset: 0, sizeBytes: 0 }
    if (value !== undefined) metadata.set(key, entry)
  }
  return { ...header, ...change, metadata }
}

it.live("every asked-for cut is moved to the nearest allowed one, and says why unless it is the same", () =>
  Effect.gen(function* () {
    const { rules } = yield* modelOf("gemma3")
    expect(nearestCut(rules, 3)).toEqual({ cut: 3, reason: undefined })
    expect(nearestCut(rules, 5)).toEqual({
      cut: 4,
      reason: "layer 5 does not attend to a window, and each stage begins with one"
    })
    for (const outside of [-1, 0, 8, 100, 2.5])
      expect(nearestCut(rules, outside)?.reason).toBe("a cut lies within 1 to 7")
    const one = yield* rulesOf(withNumbers(yield* modelOf("llama"), { block_count: 1 }, { layers: 1 }))
    expect(nearestCut(one, 1)).toBeUndefined()
    FastCheck.assert(
      FastCheck.property(FastCheck.integer({ min: -5, max: 15 }), (asked) => {
        const { cut = -1 } = nearestCut(rules, asked) ?? {}
        expect(rules.allowedCuts).toContain(cut)
        for (const other of rules.allowedCuts)
          expect(Math.abs(other - asked)).toBeGreaterThanOrEqual(Math.abs(cut - asked))
      })
    )
  })
)

it.live(
  "ranges that are empty, reversed, fractional or out of bounds are refused, as are cuts that are not allowed",
  () =>
    Effect.gen(function* () {
      const gemma = yield* modelOf("gemma3")
      const refused = (from: number, to: number): StageReason | undefined =>
        refusalOf(gemma.rules, { from, to })?.reason
      for (const [from, to] of [
        [0, 0],
        [3, 2],
        [-1, 4],
        [0, 9],
        [8, 9],
        [0.5, 2],
        [0, Number.NaN],
        [0, Number.POSITIVE_INFINITY]
      ] as const) {
        expect(refused(from, to)).toBe("BadRange")
        expect(Either.isLeft(StageLayout.make(gemma.header, { from, to }))).toBe(true)
      }
      for (const [from, to] of [
        [0, 5],
        [5, 8]
      ] as const)
        expect(refused(from, to)).toBe("BadCut")
      expect(refused(0, 8)).toBeUndefined()
      expect(refused(4, 6)).toBeUndefined()
      const error = yield* Effect.flip(StageLayout.make(gemma.header, { from: 5, to: 8 }))
      expect(error.message).toBe(
        "No cut may be made before layer 5: layer 5 does not attend to a window, and each stage begins with one " +
          "(BadCut). Cut at one of the allowed layers."
      )
    })
)

it.live("windows are taken from the file: an array, a period, a period of 0, or the architecture's own", () =>
  Effect.gen(function* () {
    const gemma2 = yield* modelOf("gemma2")
    const pattern = (values: ReadonlyArray<boolean>): GgufHeader => {
      const key = "gemma2.attention.sliding_window_pattern"
      const value = { elementType: "bool", length: values.length, values, offset: 0, sizeBytes: 6 } as const
      const metadata = new Map(gemma2.header.metadata).set(key, { key, type: "array", value, offset: 0, sizeBytes: 0 })
      return { ...gemma2.header, metadata }
    }
    const allowed = (header: GgufHeader) => Either.map(rulesOf(header), ({ allowedCuts }) => allowedCuts)
    const reason = (header: GgufHeader) => Either.flip(rulesOf(header)).pipe(Either.map((refused) => refused.reason))
    // The first stage needs a window too, which layer 1 is the first to have.
    expect(yield* allowed(pattern([false, true, true, false, true, false]))).toEqual([2, 4])
    expect(yield* allowed(withNumbers(gemma2, { "attention.sliding_window_pattern": 3 }))).toEqual([1, 3, 4])
    expect(yield* allowed(withNumbers(gemma2, { "attention.sliding_window_pattern": 0 }))).toEqual(inner(6))
    expect(yield* reason(withNumbers(gemma2, { "attention.sliding_window_pattern": 1 }))).toBe("BadModel")
    expect(yield* reason(pattern([true, false]))).toBe("BadModel")
    const gemma3 = yield* modelOf("gemma3")
    expect(yield* allowed(withNumbers(gemma3, { "attention.sliding_window": 0 }))).toEqual(inner(8))
  })
)

it.live("models that llama.cpp knows by the number of their layers are refused, and so are parts of that length", () =>
  Effect.gen(function* () {
    const reasonOf = (header: GgufHeader) =>
      Either.flip(rulesOf(header)).pipe(Either.map(({ reason }): StageReason => reason))
    for (const [name, layers] of [
      ["gemma2", 46],
      ["gemma3", 62],
      ["exaone4", 64]
    ] as const)
      expect(yield* reasonOf(withNumbers(yield* modelOf(name), {}, { layers }))).toBe("UnsupportedModel")
    const large = yield* rulesOf(withNumbers(yield* modelOf("exaone4"), {}, { layers: 80 }))
    expect(refusalOf(large, { from: 0, to: 64 })?.reason).toBe("BadCut")
    expect(refusalOf(large, { from: 0, to: 63 })).toBeUndefined()
    const deepseek = withNumbers(yield* modelOf("deepseek2"), { nextn_predict_layers: 1 }, { layers: 62 })
    const rules = yield* rulesOf(deepseek)
    expect(rules.layers).toBe(61)
    expect(refusalOf(rules, { from: 0, to: 27 })?.reason).toBe("BadCut")
    expect(refusalOf(rules, { from: 0, to: 28 })).toBeUndefined()
    const small = yield* modelOf("deepseek2-small")
    expect(refusalOf(small.rules, { from: 1, to: 27 })).toBeUndefined()
  })
)

it.live("what is not stated is what llama.cpp would take it for in the whole model", () =>
  Effect.gen(function* () {
    const deepseek = yield* modelOf("deepseek2")
    const stated = (layers: number, vocabularySize: number, numbers = {}) =>
      Either.map(
        rulesOf(withNumbers(deepseek, { nextn_predict_layers: undefined, ...numbers }, { layers, vocabularySize })),
        (rules) => Object.fromEntries(rules.stated)
      )
    expect(yield* stated(61, 129_280)).toEqual({ expert_gating_func: 1 })
    expect(yield* stated(47, 154_880)).toEqual({ expert_gating_func: 2 })
    expect(yield* stated(61, 129_280, { expert_gating_func: 2 })).toEqual({ expert_gating_func: 2 })
    expect(yield* stated(48, 128_256)).toEqual({ expert_gating_func: 1, "attention.q_lora_rank": 0 })
    const glm = yield* modelOf("glm4moe")
    expect([...(yield* rulesOf(withNumbers(glm, { "rope.dimension_count": 64 }))).stated]).toEqual([
      ["rope.dimension_sections", [16, 16, 0, 0]]
    ])
    expect((yield* modelOf("glm4moe-sections")).rules.stated.size).toBe(0)
  })
)

it.live("an input that is scaled is exact only where the root of its length is a power of two", () =>
  Effect.gen(function* () {
    const gemma2 = yield* modelOf("gemma2")
    expect(gemma2.rules).toMatchObject({ inputScale: 1 / 16, isExact: true })
    // The length of Gemma 2's 9 B.
    const { inputScale = 0, isExact } = yield* rulesOf({ ...gemma2.header, embeddingLength: 3584 })
    expect(inputScale).toBeCloseTo(1 / Math.sqrt(3584), 7)
    expect(isExact).toBe(false)
  })
)

it.live("architectures that cannot be cut are refused with the reason known, others as not tried", () =>
  Effect.gen(function* () {
    const { header } = yield* modelOf("llama")
    const refused = (architecture: string) => Either.flip(rulesOf({ ...header, architecture }))
    for (const [architecture, why] of [
      ["gemma3n", "need the tokens themselves"],
      ["bloom", "what entered the first one"],
      ["llama4", "its place in the model"],
      ["minicpm3", "the number of layers"],
      ["mamba", "both of its kinds of layers"],
      ["stablelm", "nobody has tried to cut one"]
    ] as const) {
      const error = yield* refused(architecture)
      expect(error.reason).toBe("UnsupportedArchitecture")
      expect(error.message).toContain(why)
      expect(error.message).toEndWith("Serve this model whole.")
      expect(Either.isLeft(layerSizes({ ...header, architecture }))).toBe(true)
    }
    const glm4 = yield* modelOf("glm4")
    const blind = new Map(glm4.header.metadata)
    blind.delete("glm4.rope.dimension_sections")
    const error = yield* Either.flip(rulesOf({ ...glm4.header, metadata: blind }))
    expect(error.reason).toBe("UnsupportedModel")
    expect(error.detail).toContain("see images")
  })
)

it.live("headers that lack a tensor, or hold what has no known place, are refused", () =>
  Effect.gen(function* () {
    const { header } = yield* modelOf("gpt-oss")
    const range = { from: 2, to: 4 }
    const reasonOf = (changed: GgufHeader) =>
      Either.flip(StageLayout.make(changed, range)).pipe(Either.map(({ reason }): StageReason => reason))
    const without = (name: string) => ({ ...header, tensors: header.tensors.filter((tensor) => tensor.name !== name) })
    for (const name of ["token_embd.weight", "output_norm.weight", "output.weight"])
      expect(yield* reasonOf(without(name))).toBe("BadModel")
    const [first, ...others] = header.tensors
    if (first === undefined) return yield* Effect.dieMessage("no tensors")
    const strange = { ...header, tensors: [first, { ...first, name: "position_embd.weight" }, ...others] }
    expect(yield* reasonOf(strange)).toBe("UnknownPart")
    expect(Either.isLeft(layerSizes(strange))).toBe(true)
    const key = "gpt-oss.something_new"
    const value = { elementType: "uint32", length: 6, values: [1, 2, 3, 4, 5, 6], offset: 0, sizeBytes: 24 } as const
    const listed = new Map(header.metadata).set(key, { key, type: "array", value, offset: 0, sizeBytes: 64 })
    expect(yield* reasonOf({ ...header, metadata: listed })).toBe("UnknownPart")
    expect(yield* reasonOf(withNumbers({ header }, { nextn_predict_layers: 6 }))).toBe("BadModel")
    expect(yield* reasonOf(withNumbers({ header }, { leading_dense_block_count: 2 ** 40 }))).toBe("BadModel")
  })
)
