/** Answers of rings beside those of the whole model: what differs is counted, and what is not known is asked for. */
import { expect, test } from "bun:test"
import { Texts } from "@weft/infra/bench/split/Texts"
import * as Trouble from "@weft/infra/bench/split/Trouble"

const posed = (content: string, maxTokens = 8) => ({ content, maxTokens, words: undefined })

test("an answer is held against that of the same question and length, and each unknown one is named once", () => {
  const texts = new Texts()
  texts.learn(posed("a"), "one")
  texts.hear(posed("a"), "one")
  texts.hear(posed("a"), "another")
  texts.hear(posed("a", 9), "longer")
  texts.hear({ ...posed("a"), words: 2 }, "two")
  texts.hear({ ...posed("a"), words: 2 }, "two")
  expect(texts.compare()).toEqual({ compared: 2, different: 1 })
  expect(texts.unanswered()).toEqual([posed("a", 9), { ...posed("a"), words: 2 }])
  for (const one of texts.unanswered()) texts.learn(one, "two")
  expect(texts.compare()).toEqual({ compared: 5, different: 2 })
  expect(texts.unanswered()).toEqual([])
})

test("options say what is wrong with a ring, and what there is not is refused", () => {
  const none = { jitter: 0, loss: 0, rate: 0, throttle: 0 }
  expect(Trouble.from(none)).toEqual({})
  expect(Trouble.isNone(none)).toBe(true)
  for (const option of ["jitter", "loss", "rate", "throttle"])
    expect(Trouble.isNone({ ...none, [option]: 1 })).toBe(false)
  const line = { jitterMs: 0, lossShare: 0.02, rateBitsPerSecond: Number.POSITIVE_INFINITY }
  expect(Trouble.from({ ...none, loss: 2 })).toEqual({ line })
  expect(Trouble.from({ ...none, rate: 20, throttle: 2 })).toEqual({
    line: { jitterMs: 0, lossShare: 0, rateBitsPerSecond: 20e6 },
    manner: { kind: "ramp", pausedShare: 0.8, overMs: 2_000 }
  })
  expect(() => Trouble.from({ ...none, loss: 101 })).toThrow("0 … 100")
  expect(() => Trouble.from({ ...none, throttle: 4 })).toThrow("0, 1, 2 or 3")
})
