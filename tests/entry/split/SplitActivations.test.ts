/** The list of `WEFT_SPLIT_ACTIVATIONS`: what is read of it, and by which part it is refused. */
import { expect, test } from "bun:test"
import * as SplitActivations from "@weft/entry/split/SplitActivations"
import { Either, FastCheck } from "effect"

const read = (list: string) => [...Either.getOrThrow(SplitActivations.parseList(list))]
const refusal = (list: string) =>
  Either.match(SplitActivations.parseList(list), { onLeft: ({ message }) => message, onRight: () => "read" })

test("a list names a type for each architecture, and nothing is a list without any", () => {
  expect(read("")).toEqual([])
  expect(read(" , ")).toEqual([])
  expect(read("llama:f16,qwen3: q8 , ernie4_5-moe:f32,")).toEqual([
    ["llama", "f16"],
    ["qwen3", "q8"],
    ["ernie4_5-moe", "f32"]
  ])
})

test("a part that is none is refused by its own words, with what to write", () => {
  const wrong = ["llama", "llama:", ":f16", "llama:f8", "Llama:f16", "llama:f16:q8", `${"a".repeat(65)}:f16`]
  for (const part of wrong) {
    const message = refusal(`gemma3:f16,${part}`)
    expect(message).toContain(`'${part.slice(0, 64)}'`)
    expect(message).toContain("llama:f16,qwen3:q8; a type is f32, f16, q8")
  }
  expect(refusal("llama:f16,llama:q8")).toContain("'llama:q8': this architecture is there twice")
  const many = (count: number) => Array.from({ length: count }, (_, index) => `a${index}:q8`).join()
  expect(read(many(SplitActivations.architecturesMax)).length).toBe(SplitActivations.architecturesMax)
  expect(refusal(many(SplitActivations.architecturesMax + 1))).toContain("'a256:q8': there are more than 256 parts")
})

test("any text is a list or refused with a short message", () => {
  FastCheck.assert(
    FastCheck.property(FastCheck.string({ maxLength: 400 }), (list) => {
      expect(refusal(list).length).toBeLessThan(300)
    })
  )
})
