/** What the events of an answer say: what the entry writes is read back, and what is no event harms nothing. */
import { expect, test } from "bun:test"
import { ofData } from "@weft/entry/chat/AnswerEvent"
import { ServerSentEvents } from "@weft/entry/chat/ServerSentEvents"
import { chat } from "@weft/entry/http/AnswerFormat"
import { fromFailure, toBody } from "@weft/entry/OpenAiError"
import { FastCheck } from "effect"

const head = { requestId: "req_1", createdSeconds: 1, model: "m", fingerprint: null }

const read = (written: string) => {
  const events = new ServerSentEvents().read(new TextEncoder().encode(written))
  return events === "too-long" ? events : events.flatMap(ofData)
}

test("every answer that the entry writes is read back whole, with its end and its tokens", () => {
  FastCheck.assert(
    FastCheck.property(
      FastCheck.array(FastCheck.string({ unit: "binary", minLength: 1 })),
      FastCheck.constantFrom("stop" as const, "length" as const),
      FastCheck.nat(),
      (texts, reason, completionTokens) => {
        const { delta, first, last } = chat.events(head, true)
        const usage = { promptTokens: 3, completionTokens, cachedTokens: 0 }
        // what cannot be written in UTF-8 becomes a mark on the way, as on every network
        const sent = texts.map((text) => text.toWellFormed())
        expect(read(`${first}${sent.map(delta).join("")}${last(reason, usage)}`)).toEqual([
          ...sent.map((text) => ({ _tag: "Text" as const, text })),
          { _tag: "Finished", reason },
          { _tag: "Counted", tokens: completionTokens },
          { _tag: "Done" }
        ])
      }
    )
  )
})

test("an error within a stream is a failure with the entry's words", () => {
  const error = fromFailure({ code: "engine_lost", message: "" }, "m")
  expect(read(`data: ${toBody(error)}\n\n`)).toEqual([
    {
      _tag: "Failed",
      failure: { kind: "broken", said: "The peer was lost while it answered. Retry.", retryAtMs: undefined }
    }
  ])
})

test("JSON of any shape says nothing or what it says, and what is no JSON is a failure", () => {
  FastCheck.assert(
    FastCheck.property(FastCheck.jsonValue(), (value) => {
      for (const event of ofData(JSON.stringify(value))) expect(event._tag).not.toBe("Done")
    })
  )
  for (const odd of ["null", "[]", '{"choices":[null]}', '{"choices":{"0":{"delta":{"content":7}}}}']) {
    expect(ofData(odd)).toEqual([])
  }
  expect(ofData("{").map(({ _tag }) => _tag)).toEqual(["Failed"])
})
