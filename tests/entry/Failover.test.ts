/** An answer on its way through peers that fail: what the client gets is the uninterrupted answer, once. */
import { expect } from "bun:test"
import { Failover, type PartEnd } from "@weft/entry/Failover"
import { Effect, FastCheck } from "effect"
import { greedy } from "../engine/asking.ts"
import { request as scriptedRequest } from "../engine/scripted.ts"
import { peerId } from "../mesh/peers.ts"
import { it } from "../support/effect.ts"

const request = scriptedRequest({ sampling: { ...greedy, temperature: 1 } })
const limits = { triesMax: 3, failoversMax: 2 }
const usage = { promptTokens: 1, completionTokens: 0, cachedTokens: 0 }
const finished: PartEnd = { _tag: "Finished", finishReason: "stop", usage }
const failed = (code: "engine_lost" | "overloaded" | "invalid_request" | "context_length_exceeded"): PartEnd => ({
  _tag: "Failed",
  failure: { code, message: "" }
})

it.effect("before the first event a few peers are tried with the request as it was", () =>
  Effect.sync(() => {
    const answer = new Failover(request, limits)
    for (const peer of [1, 2]) {
      expect(answer.asked(peerId(peer))).toBe(peer === 1 ? undefined : "retry")
      expect(answer.ended(failed("overloaded"))._tag).toBe("Again")
      expect(answer.request).toBe(request)
    }
    answer.asked(peerId(3))
    expect(answer.ended(failed("overloaded"))._tag).toBe("Over")
    expect(answer.tried.size).toBe(3)
  })
)

it.effect("a request at fault is not taken anywhere else, before or after the beginning", () =>
  Effect.sync(() => {
    for (const code of ["invalid_request", "context_length_exceeded"] as const) {
      const answer = new Failover(request, limits)
      answer.asked(peerId(1))
      expect(answer.ended(failed(code))._tag).toBe("Over")
      answer.passes({ _tag: "Started", promptTokens: 1, seed: 7 })
      expect(answer.ended(failed(code))._tag).toBe("Over")
    }
  })
)

it.effect("after the bound of failovers the client gets the failure", () =>
  Effect.sync(() => {
    const answer = new Failover(request, limits)
    answer.passes({ _tag: "Started", promptTokens: 1, seed: 7 })
    expect(answer.ended(failed("engine_lost"))._tag).toBe("Again")
    expect(answer.asked(peerId(2))).toBe("failover")
    expect(answer.ended(failed("engine_lost"))._tag).toBe("Again")
    expect(answer.ended(failed("engine_lost"))).toEqual({ _tag: "Over", last: failed("engine_lost") })
  })
)

/** A model that says these tokens; text lags its tokens by one, as a character's bytes may. */
const script = FastCheck.array(FastCheck.fullUnicodeString({ minLength: 1, maxLength: 3 }), {
  minLength: 1,
  maxLength: 30
})

it.prop(
  "whatever peers fail where, the client's text and tokens are those of the uninterrupted answer",
  FastCheck.record({
    words: script,
    cuts: FastCheck.array(FastCheck.nat(30), { maxLength: 2 }),
    lag: FastCheck.nat(2)
  }),
  ({ cuts, lag, words }) =>
    Effect.sync(() => {
      const answer = new Failover(request, limits)
      const whole = words.join("")
      const client = { text: "", tokens: [] as number[], starts: 0 }
      /** One peer's part: begins after what it was told, and is lost after `length` tokens. */
      const part = (length: number): PartEnd => {
        const { resume, sampling } = answer.request
        if (answer.hasBegun) expect(sampling.seed).toBe(7)
        if (answer.passes({ _tag: "Started", promptTokens: 1, seed: 7 })) client.starts++
        const from = resume?.tokens.length ?? 0
        expect(resume?.tokens ?? []).toEqual(words.slice(0, from).map((_, token) => token))
        let said = resume?.textLength ?? 0
        for (let token = from; token < Math.min(words.length, from + length); token++) {
          const end = words.slice(0, Math.max(0, token + 1 - lag)).join("").length
          const text = whole.slice(said, Math.max(said, end))
          said = Math.max(said, end)
          if (answer.passes({ _tag: "Delta", text, tokens: [token] })) {
            client.text += text
            client.tokens.push(token)
          }
        }
        if (from + length < words.length) return failed("engine_lost")
        const owed = whole.slice(said)
        if (answer.passes({ _tag: "Delta", text: owed, tokens: [] })) client.text += owed
        return finished
      }
      for (const length of [...cuts, words.length]) {
        const verdict = answer.ended(part(length))
        if (verdict._tag === "Over") break
      }
      expect(client).toEqual({ text: whole, tokens: words.map((_, token) => token), starts: 1 })
    }),
  { runs: 1_000 }
)
