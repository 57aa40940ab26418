import { expect, test } from "bun:test"
import * as Utf8Assembler from "@weft/engine/Utf8Assembler"
import { FastCheck } from "effect"

/** Pieces of UTF-8 and of what only looks like it: whole characters, cut ones, overlong forms, surrogates, BOMs. */
const fragment = FastCheck.oneof(
  FastCheck.fullUnicodeString({ maxLength: 4 }).map((text) => [...new TextEncoder().encode(text)]),
  FastCheck.constantFrom("é", "€", "𝄞", "👩‍👩‍👧‍👦", "\uFEFF", "�").chain((text) => {
    const bytes = [...new TextEncoder().encode(text)]
    return FastCheck.nat(bytes.length).map((length) => bytes.slice(0, length))
  }),
  FastCheck.constantFrom([0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf5, 0x80], [0xef, 0xbb], [0xbf], [0xff]),
  FastCheck.array(FastCheck.integer({ min: 0, max: 255 }), { maxLength: 6 })
)
const bytes = FastCheck.array(fragment, { maxLength: 12 }).map((parts) => Uint8Array.from(parts.flat()))
const cuts = FastCheck.array(FastCheck.nat(40), { maxLength: 40 })

const assemble = (all: Uint8Array, sizes: ReadonlyArray<number>): ReadonlyArray<string> => {
  const assembler = Utf8Assembler.make()
  const texts: Array<string> = []
  let at = 0
  for (const size of [...sizes, all.length]) {
    texts.push(assembler.push(all.subarray(at, at + size)))
    at = Math.min(all.length, at + size)
  }
  return [...texts, assembler.flush()]
}

test("any bytes cut anywhere give what one decoding of all of them gives", () =>
  FastCheck.assert(
    FastCheck.property(bytes, cuts, (all, sizes) => {
      expect(assemble(all, sizes).join("")).toBe(new TextDecoder().decode(all))
    }),
    { numRuns: 3000 }
  ))

test("bytes that come one at a time give the same, and every piece of text is whole characters", () =>
  FastCheck.assert(
    FastCheck.property(bytes, (all) => {
      const texts = assemble(
        all,
        Array.from(all, () => 1)
      )
      expect(texts.join("")).toBe(new TextDecoder().decode(all))
      for (const text of texts) expect(text.isWellFormed()).toBe(true)
    }),
    { numRuns: 1000 }
  ))

test("a character that never came to its end is one U+FFFD at the flush", () => {
  const assembler = Utf8Assembler.make()
  expect(assembler.push(Uint8Array.of(0x61, 0xf0, 0x9d, 0x84))).toBe("a")
  expect(assembler.flush()).toBe("�")
})

test("at most three bytes are held: an emoji comes out with its fourth", () => {
  const assembler = Utf8Assembler.make()
  const emoji = new TextEncoder().encode("🦊")
  expect([...emoji].map((byte) => assembler.push(Uint8Array.of(byte)))).toEqual(["", "", "", "🦊"])
  expect(assembler.flush()).toBe("")
})
