/** One answer fed token by token with the real vocabulary: what becomes of text that spans tokens. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import * as EngineAnswer from "@weft/engine/EngineAnswer"
import type { GenerateEvent } from "@weft/engine/Generation"
import { Effect, FastCheck } from "effect"
import * as Llama from "../../packages/engine/src/internal/llama/Llama.ts"
import { it } from "../support/effect.ts"
import { ask, endToken, models } from "./asking.ts"

const contextTokens = 512
let llama: Llama.Llama

beforeAll(() => {
  const sizes = { contextTokens, slots: 1, rowsMax: 8, threads: 1, profile: "fast" } as const
  llama = Llama.open({ path: models.nano, accelerator: "cpu", gpuLayers: 0, ...sizes, onProgress: () => {} })
})
afterAll(() => llama.close())

/** Returns the events of an answer that consists of `tokens`, up to its end. */
const feed = (tokens: ReadonlyArray<number>, stop: ReadonlyArray<string> = [], maxTokens?: number) => {
  const request = ask("hello", { stop, ...(maxTokens === undefined ? {} : { maxTokens }) })
  const answer = EngineAnswer.make(llama, { request, promptTokens: 3, contextTokens, cachedTokens: () => 0 })
  const events: Array<GenerateEvent> = []
  for (const token of tokens) {
    events.push(...answer.add(token))
    if (events.at(-1)?._tag === "Finished") break
  }
  return events
}

const text = (events: ReadonlyArray<GenerateEvent>) =>
  events.map((event) => (event._tag === "Delta" ? event.text : "")).join("")

const unicode = FastCheck.fullUnicodeString({ maxLength: 60 })

describe("an answer", () => {
  test("that ignores its end has all the tokens it may have", () => {
    const request = ask("hello", { maxTokens: 3, ignoresEnd: true })
    const answer = EngineAnswer.make(llama, { request, promptTokens: 3, contextTokens, cachedTokens: () => 0 })
    const [word] = llama.tokenize("fox", false)
    const events = [endToken, word ?? 0, endToken].flatMap((token) => answer.add(token))
    expect(events.at(-1)).toMatchObject({ _tag: "Finished", finishReason: "length", usage: { completionTokens: 3 } })
    expect(feed([endToken]).at(-1)).toMatchObject({ _tag: "Finished", finishReason: "stop" })
  })

  test("shows a character when its last byte has come, not before", () => {
    const tokens = [...llama.tokenize("🦊", false)]
    expect(tokens.length).toBe(4)
    const events = feed([...tokens, endToken])
    expect(events.map((event) => (event._tag === "Delta" ? event.text : event._tag))).toEqual([
      "",
      "",
      "",
      "🦊",
      "Finished"
    ])
    expect(events.flatMap((event) => (event._tag === "Delta" ? event.tokens : []))).toEqual(tokens)
  })

  it.prop("is the text of its tokens, whatever characters they cut", unicode, (written) =>
    Effect.sync(() => {
      const events = feed([...llama.tokenize(written, false), endToken])
      expect(text(events)).toBe(written)
      for (const event of events) expect(event._tag !== "Delta" || event.text.isWellFormed()).toBe(true)
    })
  )

  const stopping = FastCheck.tuple(unicode, FastCheck.fullUnicodeString({ minLength: 1, maxLength: 5 }), unicode)
  it.prop("ends before the first stop string", stopping, ([before, stop, after]) =>
    Effect.sync(() => {
      const whole = before + stop + after
      const events = feed([...llama.tokenize(whole, false), endToken], [stop])
      expect(text(events)).toBe(whole.slice(0, whole.indexOf(stop)))
      expect(events.at(-1)).toMatchObject({ _tag: "Finished", finishReason: "stop" })
    })
  )

  test("gives out at its end what it held back for a stop string that did not come", () => {
    const events = feed([...llama.tokenize("a market STO", false), endToken], ["STOP"])
    expect(text(events)).toBe("a market STO")
    const cut = feed([...llama.tokenize("a market STO", false)], ["STOP"], llama.tokenize("a market STO", false).length)
    expect(text(cut)).toBe("a market STO")
    expect(cut.at(-1)).toMatchObject({ finishReason: "length" })
  })

  test("shows a character that never came to its end as such", () => {
    const [first = -1] = llama.tokenize("🦊", false)
    expect(text(feed([first, endToken]))).toBe("\ufffd")
  })
})
