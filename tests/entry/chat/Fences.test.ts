/** Text in blocks of prose and code: no line of it is lost, and half a text has the same blocks so far. */
import { expect, test } from "bun:test"
import { blocksOf } from "@weft/entry/chat/Fences"
import { FastCheck } from "effect"

test("code stands between fences; a fence that is open reaches to the end", () => {
  expect(blocksOf("Look:\n```ts\nconst a = 1\n```\nDone.")).toEqual([
    { kind: "prose", text: "Look:", language: "" },
    { kind: "code", text: "const a = 1", language: "ts" },
    { kind: "prose", text: "Done.", language: "" }
  ])
  expect(blocksOf("~~~\n```\nx")).toEqual([{ kind: "code", text: "```\nx", language: "" }])
  expect(blocksOf("````\n```\n````").map(({ text }) => text)).toEqual(["```"])
  expect(blocksOf("``` not `code`").map(({ kind }) => kind)).toEqual(["prose"])
  expect(blocksOf("\n\n")).toEqual([])
})

const line = FastCheck.oneof(
  FastCheck.constantFrom("```", "```js", "~~~", "", "  "),
  FastCheck.string({ maxLength: 8 })
)

test("every line that is no fence and not empty is in one block, in order", () => {
  FastCheck.assert(
    FastCheck.property(FastCheck.array(line), (lines) => {
      const text = lines.join("\n")
      const kept = blocksOf(text).flatMap((block) => block.text.split("\n"))
      const isPlain = (one: string): boolean => one.trim() !== "" && !/^ {0,3}(`{3,}|~{3,})/.test(one)
      expect(kept.filter(isPlain)).toEqual(text.split("\n").filter(isPlain))
    })
  )
})
