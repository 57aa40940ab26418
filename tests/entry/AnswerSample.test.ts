/** Which answers tell how fast a model is served, and what they tell. */
import { expect } from "bun:test"
import { type EndedAnswer, sampleOf, windowMsMin } from "@weft/entry/http/AnswerSample"
import { Effect, FastCheck } from "effect"
import { it } from "../support/effect.ts"

const answer: EndedAnswer = {
  status: 200,
  usageTokens: 21,
  startedMs: 1_000,
  firstMs: 1_250,
  lastMs: 3_250,
  tokensAfterFirst: 20
}

it.effect("a whole answer tells its time to the first text, and the rate after it", () =>
  Effect.sync(() => expect(sampleOf(answer)).toEqual({ ttftMs: 250, tokensPerSecond: 10 }))
)

it.effect("what tells nothing says why", () =>
  Effect.sync(() => {
    expect(sampleOf({ ...answer, status: 503 })).toBe("non_2xx_status")
    expect(sampleOf({ ...answer, status: 499 })).toBe("client_disconnected")
    expect(sampleOf({ ...answer, usageTokens: undefined })).toBe("usage_chunk_missing")
    expect(sampleOf({ ...answer, usageTokens: 0 })).toBe("zero_completion_tokens")
    expect(sampleOf({ ...answer, firstMs: undefined, lastMs: undefined })).toBe("zero_completion_tokens")
  })
)

it.effect("text that came at once tells no rate, however many tokens it has: 953,000 a second were none", () =>
  Effect.sync(() =>
    FastCheck.assert(
      FastCheck.property(
        FastCheck.double({ min: 0, max: 200, noNaN: true }),
        FastCheck.nat(100_000),
        (windowMs, tokensAfterFirst) => {
          const sample = sampleOf({ ...answer, lastMs: 1_250 + windowMs, tokensAfterFirst })
          if (typeof sample === "string") throw new Error(sample)
          if (windowMs < windowMsMin || tokensAfterFirst === 0) expect(sample.tokensPerSecond).toBeUndefined()
          else expect(sample.tokensPerSecond).toBeCloseTo((tokensAfterFirst * 1000) / windowMs, 3)
        }
      )
    )
  )
)
