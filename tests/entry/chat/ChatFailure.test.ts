/** Failures of answers in words: what each refusal of the entry is to a reader, and when asking again makes sense. */
import { expect, test } from "bun:test"
import { type ChatFailure, ofResponse, wordsOf } from "@weft/entry/chat/ChatFailure"
import { NoAnswer } from "@weft/entry/Inference"
import * as OpenAiError from "@weft/entry/OpenAiError"

const nowMs = 1_700_000_000_000

/** The failure that a client of the entry makes of its error. */
const of = (error: OpenAiError.ApiError): ChatFailure =>
  ofResponse(error.status, OpenAiError.toHeaders(error)["retry-after"] ?? null, OpenAiError.toBody(error), nowMs)

test("every refusal of the entry has its kind, and its time to ask again", () => {
  const told: ReadonlyArray<readonly [OpenAiError.ApiError, ChatFailure["kind"], number | undefined]> = [
    [OpenAiError.invalidApiKey("no"), "key", undefined],
    [OpenAiError.rateLimited("requests", "ada", 1, 30_000), "limit", 30],
    [OpenAiError.quotaTooSmall("ada", 1, 2), "refused", undefined],
    [OpenAiError.modelNotFound("m"), "gone", undefined],
    [OpenAiError.fromNoAnswer(new NoAnswer({ reason: "NoPeer", model: "m" })), "gone", 2],
    [OpenAiError.fromNoAnswer(new NoAnswer({ reason: "Overloaded", model: "m", retryAfterSeconds: 7 })), "busy", 7],
    [OpenAiError.shuttingDown(), "busy", 2],
    [OpenAiError.bodyTooLarge(1), "long", undefined],
    [OpenAiError.fromFailure({ code: "context_length_exceeded", message: "512" }, "m"), "long", undefined],
    [OpenAiError.internalError(), "broken", undefined],
    [OpenAiError.answerTimeout(), "broken", undefined]
  ]
  for (const [error, kind, seconds] of told) {
    const retryAtMs = seconds === undefined ? undefined : nowMs + seconds * 1_000
    expect(of(error)).toEqual({ kind, said: error.message, retryAtMs })
  }
})

test("what is no error object, no time or no end of text is taken for what it can be", () => {
  expect(ofResponse(502, "soon", "<html>", nowMs)).toEqual({ kind: "broken", said: undefined, retryAtMs: undefined })
  expect(ofResponse(429, "1e99", "null", nowMs)).toEqual({ kind: "limit", said: undefined, retryAtMs: undefined })
  const long = ofResponse(400, null, JSON.stringify({ error: { message: "x".repeat(5_000), code: {} } }), nowMs)
  expect([long.kind, long.said?.length]).toEqual(["refused", 1_024])
})

test("each kind says what happened and what to do", () => {
  const kinds = ["key", "limit", "busy", "gone", "long", "unreachable", "broken", "refused"] as const
  const happened = kinds.map((kind) => {
    const words = wordsOf({ kind, said: undefined, retryAtMs: undefined }, { hasKey: false, hasText: false })
    expect(words.cure).not.toBe("")
    return words.happened
  })
  expect(new Set(happened).size).toBe(kinds.length)
})
