/** What is printed: tables that line up, and nothing that a stranger's text could do to a terminal. */
import { expect, test } from "bun:test"
import * as Terminal from "@weft/peer/Terminal"
import { FastCheck } from "effect"

test("columns line up under their widest cell, and no line ends in spaces", () => {
  expect(
    Terminal.table([
      ["MODEL", "STATE", "SLOTS"],
      ["a-long-name", "ready", "1"],
      ["b", "", "22"],
      ["c", "x", ""]
    ])
  ).toEqual(["MODEL        STATE  SLOTS", "a-long-name  ready  1", "b                   22", "c            x"])
  expect(Terminal.table([])).toEqual([])
})

test("control characters are shown, not sent", () => {
  expect(Terminal.printable("a\u001b[31mred\u0007\r\nb\u009bc\u0000")).toBe("a\\x1b[31mred\\x07\\x0d\\x0ab\\x9bc\\x00")
  expect(Terminal.printable("Grüße 你好 🦊")).toBe("Grüße 你好 🦊")
})

test("text that reorders what is read after it is shown too", () => {
  expect(Terminal.printable("model\u202egguf.exe\u2066x")).toBe("model\\u202egguf.exe\\u2066x")
})

test("whatever the text, nothing of it moves the cursor", () => {
  FastCheck.assert(
    FastCheck.property(FastCheck.fullUnicodeString({ maxLength: 50 }), (text) => {
      expect(Terminal.printable(text)).not.toMatch(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u)
    }),
    { numRuns: 1_000 }
  )
})
