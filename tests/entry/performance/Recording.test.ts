/** From answers over real HTTP to what is remembered of the peer that gave them. */
import { expect } from "bun:test"
import { Effect } from "effect"
import { rise } from "../../mesh/links.ts"
import { it } from "../../support/effect.ts"
import { answering, hello, open, post, ruleEvents } from "../support.ts"

const served = { peer: answering, model: hello.model, mode: "solo" } as const

it.live("an answer of one peer is remembered of it, once; an error is not", () =>
  Effect.gen(function* () {
    const door = yield* open()
    expect(door.performance.of(served)).toBeUndefined()
    for (const samples of [1, 2]) {
      yield* post(`${door.url}/v1/chat/completions`, hello)
      expect(door.performance.of(served)?.samples).toBe(samples)
    }
    yield* post(`${door.url}/v1/chat/completions`, { ...hello, messages: [{ role: "user", content: "FAIL internal" }] })
    yield* post(`${door.url}/v1/chat/completions`, { ...hello, model: "unknown" })
    expect(door.performance.ofModel(hello.model, "solo")?.samples).toBe(2)
  })
)

it.live("an answer that moved is a sample of the model's histograms and of no peer", () =>
  Effect.gen(function* () {
    const door = yield* open({ answers: "hand" })
    const recorded = yield* rise(
      "weft_samples_total",
      { model: hello.model, result: "recorded" },
      Effect.gen(function* () {
        const answer = yield* Effect.fork(post(`${door.url}/v1/chat/completions`, hello))
        const turn = yield* door.turn
        const [first, ...others] = ruleEvents(turn.request)
        yield* turn.send(...(first === undefined ? [] : [first]))
        yield* turn.move
        yield* turn.send(...others)
        expect((yield* answer).status).toBe(200)
      })
    )
    expect(recorded).toBe(1)
    expect(door.performance.of(served)).toBeUndefined()
  })
)
