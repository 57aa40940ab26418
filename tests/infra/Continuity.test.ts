/** A text that went on elsewhere is judged by what is missing and what comes twice. */
import { expect, test } from "bun:test"
import { compare } from "@weft/infra/bench/failover/Continuity"
import * as Nonce from "@weft/infra/bench/load/Nonce"
import * as Seeded from "@weft/infra/bench/Seeded"

const expected = "Once upon a time there was a quiet heron named Mira. Mira lived in a valley near the sea."
const at = expected.indexOf("named")

test("the same text has lost and repeated nothing", () => {
  expect(compare(expected, expected)).toEqual({ kind: "same", lostCharacters: 0, repeatedCharacters: 0 })
})

test("a text that ends early has lost the rest", () => {
  expect(compare(expected.slice(0, at), expected)).toEqual({
    kind: "cut",
    lostCharacters: expected.length - at,
    repeatedCharacters: 0
  })
  expect(compare("", expected).lostCharacters).toBe(expected.length)
})

test("a text that leaves a part out has lost that part", () => {
  const text = expected.slice(0, at) + expected.slice(at + 6)
  expect(compare(text, expected)).toEqual({ kind: "lost", lostCharacters: 6, repeatedCharacters: 0 })
})

test("a text that says a part twice has repeated that part", () => {
  const text = expected.slice(0, at + 6) + expected.slice(at)
  expect(compare(text, expected)).toEqual({ kind: "repeated", lostCharacters: 0, repeatedCharacters: 6 })
})

test("a text that repeats its very end is repeated, one that goes on with something else is other", () => {
  const twice = compare(`${expected}the sea.`, expected)
  expect(twice).toEqual({ kind: "repeated", lostCharacters: 0, repeatedCharacters: 8 })
  const other = compare(`${expected.slice(0, at)}and that was all there is to say.`, expected)
  expect(other).toEqual({ kind: "other", lostCharacters: expected.length - at, repeatedCharacters: 0 })
})

test("nonces differ from each other, and a seed repeats them", () => {
  const draw = (seed: number) => {
    const chance = Seeded.make(seed)
    const taken = new Set<string>()
    for (let count = 0; count < 1000; count++) taken.add(Nonce.draw(chance, taken))
    return [...taken]
  }
  expect(draw(1).length).toBe(1000)
  expect(draw(1)).toEqual(draw(1))
  expect(draw(1)).not.toEqual(draw(2))
})

test("an answer is its own, another's, nobody's, or too short to tell", () => {
  const own = "brave fox quiet kite"
  const asked = new Set([own, "happy owl gentle drum"])
  expect(Nonce.judge(`${own} and more`, own, asked)).toBe("own")
  expect(Nonce.judge("happy owl gentle drum. And", own, asked)).toBe("crossed")
  expect(Nonce.judge("happy fox gentle drum. And", own, asked)).toBe("misspelt")
  expect(Nonce.judge("brave fo", own, asked)).toBe("short")
  expect(Nonce.judge("", own, asked)).toBe("short")
  expect(Nonce.judge("happy ow", own, asked)).toBe("misspelt")
})
