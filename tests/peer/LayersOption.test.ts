/** Which layers an owner lends, as they write it. */
import { expect, test } from "bun:test"
import * as LayersOption from "@weft/peer/LayersOption"
import { Either } from "effect"

const parse = (texts: ReadonlyArray<string>, names: ReadonlyArray<string>) =>
  Either.match(LayersOption.parse(texts, names), {
    onLeft: ({ message }) => message,
    onRight: (ranges) => Object.fromEntries(ranges)
  })

test("the only model needs no name, several do, and names may hold what stands between", () => {
  expect(parse([], ["a", "b"])).toEqual({})
  expect(parse(["0-12"], ["a"])).toEqual({ a: { from: 0, to: 12 } })
  expect(parse(["b=3-4", "a=b=0-512"], ["a=b", "b"])).toEqual({ b: { from: 3, to: 4 }, "a=b": { from: 0, to: 512 } })
})

test("what is no range, of no model or given twice is refused with what to write", () => {
  for (const text of ["", "12", "3-3", "4-3", "-1-3", "0-1234", "a=", "0..3", "0x1-3"])
    expect(parse([text], ["a"])).toContain("0-12")
  expect(parse(["0-3"], ["a", "b"])).toContain("NAME one of a, b")
  expect(parse(["c=0-3"], ["a", "b"])).toContain("none of a, b")
  expect(parse(["0-3", "a=4-5"], ["a"])).toContain("twice for a")
})
