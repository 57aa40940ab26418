/** What completions tell: samples of their decode window, medians of each axis, nothing absurd. */
import { expect } from "bun:test"
import { GenerateRequest } from "@weft/engine/Generation"
import { NativeFigures } from "@weft/mesh/ModelDescription"
import * as BaselineFigures from "@weft/peer/baseline/BaselineFigures"
import { Effect, FastCheck, Schema } from "effect"
import { delta, failed, finished, started } from "../../engine/scripted.ts"
import { it } from "../../support/effect.ts"

const followed = (windowMs: number, last = finished(3)) => {
  const completion = new BaselineFigures.Completion(1_000)
  completion.note([started], 1_010)
  completion.note([delta("once")], 1_100)
  completion.note([delta(" upon"), delta(" a")], 1_100 + windowMs)
  completion.note([last], 1_101 + windowMs)
  return completion.sample
}

it.effect("a completion tells the time to its first text, and the rate of what came after it", () =>
  Effect.sync(() => expect(followed(100)).toEqual({ ttftMs: 100, tokensPerSecond: 20 }))
)

it.effect("one that failed, or came in one piece, tells nothing", () =>
  Effect.sync(() => {
    expect(followed(100, failed("engine_lost"))).toBeUndefined()
    expect(followed(0.03)).toBeUndefined()
    expect(new BaselineFigures.Completion(0).sample).toBeUndefined()
  })
)

it.effect("the middle is of each axis by itself, of as many as there are", () =>
  Effect.sync(() => {
    const [one, two, three] = [
      { ttftMs: 10, tokensPerSecond: 5 },
      { ttftMs: 30, tokensPerSecond: 50 },
      { ttftMs: 20, tokensPerSecond: 500 }
    ]
    expect(BaselineFigures.figuresOf([one, two, three], 7)).toEqual({
      ttftMs: 20,
      tokensPerSecond: 50,
      runs: 3,
      measuredAtMs: 7
    })
    expect(BaselineFigures.figuresOf([one, two], 7)).toMatchObject({ ttftMs: 20, tokensPerSecond: 27.5, runs: 2 })
    expect(BaselineFigures.figuresOf([two], 7)).toMatchObject({ ttftMs: 30, tokensPerSecond: 50, runs: 1 })
    expect(BaselineFigures.figuresOf([], 7)).toBeUndefined()
  })
)

const axis = FastCheck.double({ min: -10, max: 1e9, noNaN: false })
const sample = FastCheck.record({ ttftMs: axis, tokensPerSecond: axis })

it.effect("whatever was measured, what is announced is what an entry takes", () =>
  Effect.sync(() =>
    FastCheck.assert(
      FastCheck.property(FastCheck.array(sample, { maxLength: 3 }), (samples) => {
        const figures = BaselineFigures.figuresOf(samples, 1)
        return figures === undefined || Schema.is(NativeFigures)(figures)
      }),
      { numRuns: 500 }
    )
  )
)

it.effect("the three prompts differ from their first token on, and fit any context", () =>
  Effect.sync(() => {
    for (const contextTokens of [16, 4_096]) {
      const request = BaselineFigures.request("m", contextTokens, 5)
      expect(Schema.is(GenerateRequest)(request)).toBe(true)
      expect(request.maxTokens).toBe(contextTokens === 16 ? 8 : 128)
      expect(request.sampling).toMatchObject({ temperature: 0, seed: 42 })
      expect(BaselineFigures.request("m", contextTokens, 6).prompt).not.toEqual(request.prompt)
    }
  })
)
