/** Which draft model guesses for which model, as an owner writes it. */
import { expect, test } from "bun:test"
import * as DraftOption from "@weft/peer/DraftOption"
import { Either } from "effect"

const parse = (texts: ReadonlyArray<string>, names: ReadonlyArray<string>) =>
  Either.match(DraftOption.parse(texts, names), {
    onLeft: ({ message }) => message,
    onRight: (files) => Object.fromEntries(files)
  })

test("a file alone is for all models that have none of their own, and paths may hold what stands between", () => {
  expect(parse([], ["a", "b"])).toEqual({})
  expect(parse(["d.gguf"], ["a", "b"])).toEqual({ a: "d.gguf", b: "d.gguf" })
  expect(parse(["b=e.gguf", "d.gguf"], ["a", "b"])).toEqual({ a: "d.gguf", b: "e.gguf" })
  expect(parse(["b=e=f.gguf", "x=y/d.gguf"], ["a", "b"])).toEqual({ a: "x=y/d.gguf", b: "e=f.gguf" })
})

test("no file, and two files for a model, are refused with what to write", () => {
  expect(parse([""], ["a"])).toContain("NAME=FILE.gguf")
  expect(parse(["a="], ["a"])).toContain("NAME=FILE.gguf")
  expect(parse(["d", "e"], ["a"])).toContain("twice for all models")
  expect(parse(["a=d", "a=e"], ["a"])).toContain("twice for a;")
})
