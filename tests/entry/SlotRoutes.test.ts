/** What the choice of a peer means for those who wait, and that it is counted. */
import { expect } from "bun:test"
import { Effect } from "effect"
import { counted, rise } from "../mesh/links.ts"
import { it } from "../support/effect.ts"
import { entry, model, outcomes, settled } from "./slotting.ts"

it.effect("one that waits for a peer of its region does not hold up others, and is told when that peer is lost", () =>
  entry(({ come, want }) =>
    Effect.gen(function* () {
      const gone = yield* come(1, 1, { region: "eu" })
      yield* come(2)
      const holders = [yield* want(), yield* want()] as const
      const held = yield* outcomes(holders)
      const choosy = yield* want("a", { labels: { region: "eu" } })
      const other = yield* want("b")
      yield* holders[held.indexOf("at 2")]?.leave ?? Effect.void
      expect(yield* outcomes([choosy, other])).toEqual(["waits", "at 2"])
      yield* gone
      yield* settled
      expect(choosy.refusal()).toMatchObject({ reason: "NoPeer", label: "region 'eu'" })
    })
  )
)

it.effect("peers that were chosen are counted, and prompts with what of them was sent there before", () =>
  entry(({ come, slots, want }) =>
    Effect.gen(function* () {
      yield* come(1)
      const prompt = slots.readPrompt(model, "a", { _tag: "Text", text: "Once upon a time. ".repeat(100) })
      for (const cachedTokens of [0, 448]) {
        const cached = yield* rise(
          "weft_route_cached_tokens_total",
          {},
          Effect.gen(function* () {
            const routes = yield* rise(
              "weft_routes_total",
              {},
              Effect.flatMap(want("a", { prompt }), ({ leave }) => leave)
            )
            expect(routes).toBe(1)
          })
        )
        expect(cached).toBe(cachedTokens)
      }
      expect(yield* counted("weft_route_prompt_tokens_total")).toBe(900)
      expect(yield* counted("weft_route_breakers_open")).toBe(0)
    })
  )
)
