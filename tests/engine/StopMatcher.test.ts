/** Stop strings in a stream of text: generated texts, cut anywhere, against a search in the whole text. */
import { expect, test } from "bun:test"
import * as StopMatcher from "@weft/engine/StopMatcher"
import { FastCheck } from "effect"

/** Few letters, so that stops overlap, repeat and nearly match all the time. */
const letters = (maxLength: number) =>
  FastCheck.array(FastCheck.constantFrom("a", "b", "\n", "🦊"), { maxLength }).map((parts) => parts.join(""))
const scene = FastCheck.record({
  text: letters(40),
  stops: FastCheck.array(
    letters(6).filter((stop) => stop.length > 0),
    { maxLength: 4 }
  ),
  sizes: FastCheck.array(FastCheck.integer({ min: 0, max: 5 }), { maxLength: 60 })
})

const pieces = (text: string, sizes: ReadonlyArray<number>): ReadonlyArray<string> => {
  const characters = [...text]
  return [...sizes.map((size) => characters.splice(0, size).join("")), characters.join("")]
}

/** The text before the stop string that begins first. */
const cut = (text: string, stops: ReadonlyArray<string>): string => {
  const begins = stops.map((stop) => text.indexOf(stop)).filter((at) => at !== -1)
  return text.slice(0, Math.min(text.length, ...begins))
}

test("the output joined is the text before the first stop, wherever the text is cut", () =>
  FastCheck.assert(
    FastCheck.property(scene, ({ text, stops, sizes }) => {
      const matcher = StopMatcher.make(stops)
      const steps = [...pieces(text, sizes).map(matcher.push), matcher.flush()]
      expect(steps.map((step) => step.emit).join("")).toBe(cut(text, stops))
      expect(steps.at(-1)?.stopped).toBe(stops.some((stop) => text.includes(stop)))
      for (const step of steps) expect(step.emit.isWellFormed()).toBe(true)
    }),
    { numRuns: 5000 }
  ))

test("less is held back than the longest stop has characters", () =>
  FastCheck.assert(
    FastCheck.property(scene, ({ text, stops, sizes }) => {
      const matcher = StopMatcher.make(stops)
      const longest = Math.max(1, ...stops.map((stop) => stop.length))
      let seen = 0
      let emitted = 0
      for (const piece of pieces(text, sizes)) {
        const step = matcher.push(piece)
        if (step.stopped) return
        seen += piece.length
        emitted += step.emit.length
        expect(seen - emitted).toBeLessThan(longest)
      }
    }),
    { numRuns: 2000 }
  ))

test("text that no stop can begin with goes out at once", () => {
  const matcher = StopMatcher.make(["\n\nQ:"])
  expect(matcher.push("Hello")).toEqual({ emit: "Hello", stopped: false })
  expect(matcher.push(" you\n")).toEqual({ emit: " you", stopped: false })
  expect(matcher.push("\nA")).toEqual({ emit: "\n\nA", stopped: false })
})

test("a stop that spans pieces is never shown, and nothing follows it", () => {
  const matcher = StopMatcher.make(["<|end|>"])
  expect(matcher.push("done<|e")).toEqual({ emit: "done", stopped: false })
  expect(matcher.push("nd|> more")).toEqual({ emit: "", stopped: true })
  expect(matcher.push("more")).toEqual({ emit: "", stopped: true })
  expect(matcher.flush()).toEqual({ emit: "", stopped: true })
})

test("the stop that begins first wins over one that is whole earlier", () => {
  const matcher = StopMatcher.make(["abcd", "c"])
  expect(matcher.push("xabc")).toEqual({ emit: "x", stopped: false })
  expect(matcher.push("d")).toEqual({ emit: "", stopped: true })
  const other = StopMatcher.make(["abcd", "c"])
  expect(other.push("xabc")).toEqual({ emit: "x", stopped: false })
  expect(other.push("e")).toEqual({ emit: "ab", stopped: true })
})

test("what was held when the answer ends comes out, up to a stop that it holds", () => {
  const open = StopMatcher.make(["abcd"])
  expect(open.push("xabc")).toEqual({ emit: "x", stopped: false })
  expect(open.flush()).toEqual({ emit: "abc", stopped: false })
  const whole = StopMatcher.make(["abcd", "c"])
  whole.push("xabc")
  expect(whole.flush()).toEqual({ emit: "ab", stopped: true })
})

test("a lone surrogate as a stop does not cut a character in two", () => {
  const matcher = StopMatcher.make(["🦊"[1] ?? "", ""])
  expect(matcher.push("a🦊b")).toEqual({ emit: "a🦊b", stopped: false })
})
