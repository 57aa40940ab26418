/** Which answers tell how fast a model is served, and what they tell. */
import { expect } from "bun:test"
import { type EndedAnswer, sampleOf, tokensPerSecondMax, ttftMsMax, windowMsMin } from "@weft/entry/http/AnswerSample"
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
          const rate = (tokensAfterFirst * 1000) / windowMs
          if (windowMs < windowMsMin || tokensAfterFirst === 0)
            expect(sample).toEqual({ ttftMs: 250, tokensPerSecond: undefined })
          else if (rate > tokensPerSecondMax) expect(sample).toBe("absurd")
          else expect(sample).toEqual({ ttftMs: 250, tokensPerSecond: expect.closeTo(rate, 3) })
        }
      )
    )
  )
)

it.effect("the decode window of 30 microseconds that once told 953,000 tokens a second tells no rate", () =>
  Effect.sync(() => {
    const sample = sampleOf({ ...answer, lastMs: 1_250.03, tokensAfterFirst: 29 })
    expect(sample).toEqual({ ttftMs: 250, tokensPerSecond: undefined })
  })
)

const wild = FastCheck.oneof(
  FastCheck.double(),
  FastCheck.double({ min: -1e4, max: 1e6, noNaN: true }),
  FastCheck.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -1)
)

it.effect("whatever clocks and counts say, a sample is finite, positive and of this world, or absurd", () =>
  Effect.sync(() =>
    FastCheck.assert(
      FastCheck.property(wild, wild, wild, wild, (startedMs, firstMs, lastMs, tokensAfterFirst) => {
        const sample = sampleOf({ ...answer, startedMs, firstMs, lastMs, tokensAfterFirst })
        if (typeof sample === "string") expect(sample).toBe("absurd")
        else {
          const { tokensPerSecond = 0, ttftMs } = sample
          expect(ttftMs >= 0 && ttftMs <= ttftMsMax).toBe(true)
          expect(tokensPerSecond >= 0 && tokensPerSecond <= tokensPerSecondMax).toBe(true)
        }
      }),
      { numRuns: 2_000 }
    )
  )
)

it.effect("a first text before its request, after ten minutes, or more tokens than anything draws is absurd", () =>
  Effect.sync(() => {
    expect(sampleOf({ ...answer, startedMs: 2_000 })).toBe("absurd")
    expect(sampleOf({ ...answer, startedMs: 1_251 })).toMatchObject({ ttftMs: 0 })
    expect(sampleOf({ ...answer, startedMs: 1_250 - ttftMsMax - 1 })).toBe("absurd")
    expect(sampleOf({ ...answer, tokensAfterFirst: 200_001 })).toBe("absurd")
    expect(sampleOf({ ...answer, lastMs: 1_000 })).toBe("absurd")
  })
)
