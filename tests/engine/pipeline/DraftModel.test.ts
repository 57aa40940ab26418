/**
 * A draft model beside a pipeline, in virtual time: it goes on with an answer where that may go, takes back what was
 * decided otherwise, makes answers faster where it is right, and costs next to nothing where it is not.
 */
import { describe, expect, test } from "bun:test"
import * as DraftModel from "@weft/engine/pipeline/DraftModel"
import { greedy } from "../asking.ts"
import { oracleLoop } from "./drafting.ts"
import { run, type World } from "./speeding.ts"
import { hashing, repeating, seeded, told, vocabularyTokens } from "./tailing.ts"

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

const world = (changes: Partial<World> = {}): World => ({
  oracle,
  promptTokens: 30,
  count: 300,
  answers: 1,
  stages: 3,
  hopMs: 50,
  jitter: 0,
  baseMs: 10,
  rowMs: 0.5,
  right: 0.9,
  tokenMs: 4,
  ...changes
})

const gain = (one: World): number => run(one, "plain").tookMs / run(one, "model").tookMs

describe("answers with a draft model", () => {
  test("come at least twice as fast over long lines where it is mostly right, and none is lost in a crowd", () => {
    for (const hopMs of [25, 50, 100]) expect(gain(world({ hopMs }))).toBeGreaterThan(2.5)
    for (const tokenMs of [1, 5, 20]) expect(gain(world({ tokenMs }))).toBeGreaterThan(2)
    for (const answers of [2, 4]) expect(gain(world({ answers }))).toBeGreaterThan(1.5)
    expect(gain(world({ right: 0.5 }))).toBeGreaterThan(1.3)
    expect(gain(world({ promptTokens: 1500 }))).toBeGreaterThan(2.5)
    // Stages that compute for as long as lines take: drafts go along in windows that would go anyway.
    expect(gain(world({ stages: 2, hopMs: 0, baseMs: 40 }))).toBeGreaterThan(2)
  })

  test("leave the guessing to the lookup where that is as good", () => {
    const one = world({ oracle: repeating(7, 1000), right: 0.9, tokenMs: 20 })
    expect(run(one, "lookup").tookMs / run(one, "model").tookMs).toBeGreaterThan(0.98)
  })
})

describe("no answer is slower than without guesses by more than a fiftieth, on any line and with any text", () => {
  for (const [who, answers, lookupLeast, modelLeast] of [
    ["alone", () => 1, 1.5, 2],
    ["with others", (unit: number) => 2 + Math.floor(unit * 3), 1.3, 1.5]
  ] as const)
    test(`${who}`, () => {
      const sum = { lookup: 0, model: 0 }
      for (let seed = 0; seed < worlds; seed++) {
        const one = anyWorld(seed, answers)
        const plainMs = run(one, "plain").tookMs
        for (const speed of ["lookup", "model"] as const) {
          const gained = plainMs / run(one, speed).tookMs
          if (gained < 0.98) throw new Error(`seed ${seed}: ${gained} times as fast with the ${speed}`)
          sum[speed] += gained / worlds
        }
      }
      expect(sum.lookup).toBeGreaterThan(lookupLeast)
      expect(sum.model).toBeGreaterThan(modelLeast)
    }, 120_000)
})

/** As many as show a fault that one of a hundred has. */
const worlds = 400

const anyWorld = (seed: number, answers: (unit: number) => number): World => {
  const random = seeded(seed)
  const baseMs = random() * 20
  const words = 1 + Math.floor(random() * vocabularyTokens)
  return world({
    oracle: random() < 0.7 ? hashing(words) : repeating(3 + Math.floor(random() * 9), 2 + Math.floor(random() * 20)),
    promptTokens: 1 + Math.floor(random() * 300),
    stages: 2 + Math.floor(random() * 4),
    hopMs: random() < 0.3 ? 0 : random() * 100,
    jitter: random() < 0.5 ? 0 : random() * 0.5,
    baseMs,
    rowMs: 0.05 + random() * (random() < 0.5 ? baseMs : 2),
    // Short answers have little to pay trials from.
    count: random() < 0.5 ? 32 + Math.floor(random() * 40) : 100 + Math.floor(random() * 400),
    right: random() < 0.3 ? 0 : random(),
    tokenMs: 0.3 + random() * random() * 30,
    answers: answers(random())
  })
}
