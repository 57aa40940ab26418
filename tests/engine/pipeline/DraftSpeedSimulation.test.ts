/**
 * How fast answers come with a draft model beside a pipeline, in virtual time: faster where it is right, and next to no
 * slower where it is not.
 */
import { describe, expect, test } from "bun:test"
import { run, type World } from "./speeding.ts"
import { hashing, repeating, seeded, vocabularyTokens } from "./tailing.ts"

const oracle = hashing(vocabularyTokens)

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
    }, 300_000)
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
