/** A draft model beside a pipeline goes on with an answer where it may, and takes back what was decided otherwise. */
import { describe, expect, test } from "bun:test"
import * as DraftModel from "@weft/engine/pipeline/DraftModel"
import { greedy } from "../asking.ts"
import { oracleLoop } from "./drafting.ts"
import { hashing, told, vocabularyTokens } from "./tailing.ts"

const oracle = hashing(vocabularyTokens)
const prompt = Array.from({ length: 70 }, (_, at) => (at * 7) % vocabularyTokens)

/** Starts a draft model with one answer; `computed` gathers the rows of its decodes. */
const start = (changes: Partial<DraftModel.DraftModelOptions> = {}) => {
  const computed: Array<number> = []
  const loop = oracleLoop(oracle, 1, (rows) => void computed.push(rows))
  const model = DraftModel.make({ loop, contextTokens: 100, vocabularyTokens, tokenMs: 1, now: () => 0, ...changes })
  const terms = { seed: 1, sampling: greedy, promptTokens: prompt.length, contextTokens: 200 }
  const drafter = model.open(1, terms)
  const settle = (): void => {
    while (model.wants()) model.turn(Number.POSITIVE_INFINITY)
  }
  return { model, drafter, computed, settle }
}

const after = (count: number) => Int32Array.from([...prompt, ...told(oracle, prompt, count)])

describe("a draft model", () => {
  test("computes the prompt in short decodes and goes on as far as it is led, then rests", () => {
    const { computed, drafter, model, settle } = start()
    expect(model.wants()).toBe(false)
    drafter.lead(after(0), 5)
    expect(drafter.behind(after(0))).toBe(70)
    settle()
    expect(computed).toEqual([4, 8, 16, 32, 10, 1, 1, 1, 1])
    expect(drafter.behind(after(0))).toBe(0)
    expect(drafter.draft(after(0), 9)?.tokens).toEqual([...told(oracle, prompt, 5)])
    expect(drafter.draft(after(2), 2)?.tokens).toEqual([...told(oracle, prompt, 4).slice(2)])
    expect(drafter.draft(after(5), 2)).toBeUndefined()
    drafter.lead(after(2), 0)
    expect(model.wants()).toBe(false)
  })

  test("takes back what was decided otherwise and computes no more than that anew", () => {
    const { computed, drafter, settle } = start()
    drafter.lead(after(0), 5)
    settle()
    const other = after(3)
    other[72] = ((other[72] ?? 0) + 1) % vocabularyTokens
    expect(drafter.draft(other, 1)).toBeUndefined()
    expect(drafter.behind(other)).toBe(1)
    computed.length = 0
    drafter.lead(other, 1)
    settle()
    expect(computed).toEqual([1])
    expect(drafter.draft(other, 4)?.tokens).toEqual([oracle(other)])
  })

  test("gives up a decode that waits when what it is for was decided otherwise", () => {
    const { drafter, model, settle } = start()
    drafter.lead(after(0), 1)
    model.turn(Number.POSITIVE_INFINITY)
    const other = Int32Array.from([...after(0).subarray(0, 2), 9, ...after(0).subarray(3)])
    drafter.lead(other, 1)
    settle()
    expect(drafter.draft(other, 1)?.tokens).toEqual([oracle(other)])
  })

  test("ends with its context, and where it says what the other model does not know", () => {
    const { drafter, settle } = start()
    drafter.lead(after(0), 90)
    settle()
    expect(drafter.draft(after(0), 90)?.tokens.length).toBe(30)
    expect(drafter.goesOn()).toBe(false)
    drafter.lead(after(40), 1)
    expect(drafter.draft(after(40), 1)).toBeUndefined()
    const fewer = start({ vocabularyTokens: oracle(after(2)) })
    fewer.drafter.lead(after(0), 9)
    fewer.settle()
    expect(fewer.drafter.goesOn()).toBe(false)
    const { length = 0 } = fewer.drafter.draft(after(0), 9)?.tokens ?? {}
    expect(length).toBeLessThanOrEqual(2)
  })

  test("fails alone where its loop takes no answer", () => {
    const full = start({ loop: { ...oracleLoop(oracle, 1, () => {}), turn: () => [failed], submit: () => {} } })
    full.drafter.lead(after(0), 2)
    full.settle()
    expect(full.drafter.goesOn()).toBe(false)
    expect(full.drafter.draft(after(0), 2)).toBeUndefined()
  })
})

const failed = { kind: "failed", epoch: 1, job: 1, reason: "no room" } as const
