/** A provider's bytes become events of our own whatever they are cut into, and nothing else ever goes through. */
import { expect } from "bun:test"
import type { GenerateEvent } from "@weft/engine/Generation"
import { ProviderAnswer } from "@weft/entry/fallback/ProviderAnswer"
import { Effect, Either, FastCheck } from "effect"
import { it } from "../../support/effect.ts"
import { chunk, say, usual } from "./provider.ts"

const bounds = { eventCharactersMax: 4_096, answerBytesMax: 65_536 }

/** Reads pieces to their end; returns the events, or why there is no answer. */
const read = (pieces: ReadonlyArray<string | Uint8Array>, promptTokens = 7) => {
  const answer = new ProviderAnswer(promptTokens, bounds)
  const events: Array<GenerateEvent> = []
  for (const piece of pieces) {
    const told = answer.feed(typeof piece === "string" ? new TextEncoder().encode(piece) : piece)
    if (Either.isLeft(told)) return { events, failure: told.left.reason }
    events.push(...told.right)
    if (answer.isDone) break
  }
  return Either.match(answer.end(), {
    onLeft: ({ reason }) => ({ events, failure: reason }),
    onRight: (last) => ({ events: [...events, last], failure: undefined })
  })
}

const textOf = (events: ReadonlyArray<GenerateEvent>) =>
  events.map((event) => (event._tag === "Delta" ? event.text : "")).join("")

const started = { _tag: "Started", promptTokens: 7, seed: 0 }
const end = (finish_reason: string) => chunk({ index: 0, delta: {}, finish_reason })
const finished = (finishReason: string, promptTokens: number, completionTokens: number, cachedTokens = 0) => ({
  _tag: "Finished",
  finishReason,
  usage: { promptTokens, completionTokens, cachedTokens }
})

it.effect("a usual answer becomes its start, its texts and its end with the provider's counts", () =>
  Effect.sync(() => {
    expect(read(usual).events).toEqual([
      started,
      { _tag: "Delta", text: "Hello ", tokens: [0] },
      { _tag: "Delta", text: "from afar", tokens: [0] },
      finished("stop", 11, 5, 3)
    ] as Array<GenerateEvent>)
    const completion = [chunk({ index: 0, text: "abc", finish_reason: "length" })]
    expect(read(completion).events.at(-1)).toEqual(finished("length", 7, 1) as GenerateEvent)
    expect(read([say("x"), end("content_filter")]).events.at(-1)).toEqual(finished("stop", 7, 1) as GenerateEvent)
  })
)

it.effect("counts that make no sense are not taken; one token is counted for each text", () =>
  Effect.sync(() => {
    const absurd = [
      { prompt_tokens: -1, completion_tokens: 2 },
      { prompt_tokens: 1, completion_tokens: 1e12 },
      { prompt_tokens: 1.5, completion_tokens: 2 },
      { prompt_tokens: "1", completion_tokens: 2 },
      "many",
      []
    ]
    for (const usage of absurd) {
      const counted = read([say("a"), say("b"), end("stop"), `data: ${JSON.stringify({ choices: [], usage })}\n\n`])
      expect([usage, counted.events.at(-1)]).toEqual([usage, finished("stop", 7, 2) as GenerateEvent])
    }
    const cached = { prompt_tokens: 4, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 9 } }
    expect(read([say("a"), chunk({ index: 0, finish_reason: "stop" }, { usage: cached })]).events.at(-1)).toEqual(
      finished("stop", 4, 2, 4) as GenerateEvent
    )
  })
)

it.effect("behind the end of the text nothing makes the answer longer or worse, even where it comes together", () =>
  Effect.sync(() => {
    const answer = [say("all of "), say("it"), end("stop")]
    const rests = [[say("more")], ["data: garbage\n\n"], [`data: {"error":{}}\n\n`], [`data: ${"x".repeat(9_000)}`]]
    for (const rest of rests) {
      for (const pieces of [[...answer, ...rest], [[...answer, ...rest].join("")]]) {
        const { events, failure } = read(pieces)
        expect([textOf(events), events.at(-1)?._tag, failure]).toEqual(["all of it", "Finished", undefined])
      }
    }
  })
)

it.effect("what is too large is given up within its bound", () =>
  Effect.sync(() => {
    expect(read([say("x"), `data: ${"x".repeat(5_000)}`]).failure).toBe("huge")
    const filler = say("x".repeat(1_000))
    const { events, failure } = read(Array(1_000).fill(filler))
    expect(failure).toBe("huge")
    expect(textOf(events).length).toBeLessThanOrEqual(bounds.answerBytesMax)
    const deep = `data: ${"[".repeat(4_000)}\n\n`
    expect(read([deep]).failure).toBe("garbage")
  })
)

const text = FastCheck.string({ unit: "binary", maxLength: 20 })
const cuts = FastCheck.array(FastCheck.nat({ max: 4_000 }), { maxLength: 30 })

const cutAt = (bytes: Uint8Array, at: ReadonlyArray<number>): ReadonlyArray<Uint8Array> => {
  const places = [0, ...at.filter((place) => place < bytes.length).toSorted((a, b) => a - b), bytes.length]
  return places.slice(1).map((place, index) => bytes.slice(places[index], place))
}

it.prop(
  "any text comes through whole, whatever its bytes are cut into",
  FastCheck.tuple(FastCheck.array(text, { minLength: 1, maxLength: 10 }), cuts),
  ([texts, at]) =>
    Effect.sync(() => {
      const whole = texts.join("")
      const bytes = new TextEncoder().encode([...texts.map(say), end("stop"), "data: [DONE]\n\n"].join(""))
      const { events, failure } = read(cutAt(bytes, at))
      expect(failure).toBe(whole === "" ? "empty" : undefined)
      expect(textOf(events)).toBe(whole)
    }),
  { runs: 300 }
)

it.prop(
  "any bytes at all are an answer in order, or a failure",
  FastCheck.array(
    FastCheck.oneof(
      FastCheck.uint8Array({ maxLength: 40 }),
      FastCheck.json().map((json) => new TextEncoder().encode(`data: ${json}\n\n`)),
      FastCheck.constantFrom(...usual).map((event) => new TextEncoder().encode(event))
    ),
    { maxLength: 12 }
  ),
  (pieces) =>
    Effect.sync(() => {
      const { events, failure } = read(pieces)
      const tags = events.map(({ _tag }) => _tag[0]).join("")
      expect(tags).toMatch(failure === undefined ? /^SD+F$/ : /^(SD+)?$/)
    }),
  { runs: 500 }
)
