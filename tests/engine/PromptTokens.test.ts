/** Prompts to tokens, with a vocabulary of one token a character in which `<a>` and `<b>` are control tokens. */
import { describe, expect, test } from "bun:test"
import type { GenerateFailure } from "@weft/engine/Generation"
import * as PromptTokens from "@weft/engine/PromptTokens"
import { Effect } from "effect"
import { it } from "../support/effect.ts"

const controls: Readonly<Record<string, number>> = { "<a>": 1, "<b>": 2 }

const tokenize = (text: string, control: boolean): Int32Array => {
  const parts = control ? text.split(/(<a>|<b>)/) : [text]
  return Int32Array.from(
    parts.flatMap((part) =>
      control && part in controls ? [controls[part] ?? 0] : [...part].map((x) => x.charCodeAt(0))
    )
  )
}

const vocabulary: PromptTokens.Vocabulary = {
  vocabularyTokens: 256,
  firstToken: undefined,
  controlTokens: [
    { token: 1, text: "<a>", stripLeft: false, stripRight: true },
    { token: 2, text: "<b>", stripLeft: true, stripRight: false }
  ],
  pieceBytesMax: 1,
  tokenize
}

const show = (tokens: ReadonlyArray<number>) =>
  tokens.map((token) => (token < 32 ? `[${token}]` : String.fromCharCode(token))).join("")

const noTemplate = Effect.fail<GenerateFailure>({ code: "invalid_request", message: "no template" })

describe("a prompt", () => {
  test("gets its control tokens from special pieces alone", () => {
    const pieces = [
      { text: "<a><b>", special: true },
      { text: "say <a>", special: false },
      { text: "<b>", special: true }
    ]
    expect(show(PromptTokens.tokenize(pieces, vocabulary))).toBe("[1][2]say <a>[2]")
  })

  test("loses the white space that a control token eats, on that side alone", () => {
    const pieces = [
      { text: " x ", special: false },
      { text: "<a>", special: true },
      { text: "\n y \n", special: false },
      { text: "<b>", special: true },
      { text: " z ", special: false }
    ]
    expect(show(PromptTokens.tokenize(pieces, vocabulary))).toBe(" x [1]y[2] z ")
  })

  test("begins with the model's first token once, whether or not its template writes it", () => {
    const begins = { ...vocabulary, firstToken: 1 }
    expect(show(PromptTokens.tokenize([{ text: "x", special: false }], begins))).toBe("[1]x")
    expect(show(PromptTokens.tokenize([{ text: "<a>", special: true }], begins))).toBe("[1]")
  })

  it.effect("one token short of the context fits, one more does not", () =>
    Effect.gen(function* () {
      const make = (count: number) =>
        PromptTokens.make({ _tag: "Tokens", tokens: Array(count).fill(65) }, vocabulary, noTemplate, 8)
      expect((yield* make(7)).length).toBe(7)
      expect(yield* Effect.flip(make(8))).toMatchObject({ code: "context_length_exceeded", param: "prompt" })
    })
  )

  it.effect("that cannot fit by its bytes is not tokenised", () =>
    Effect.gen(function* () {
      const untouched = {
        ...vocabulary,
        pieceBytesMax: 4,
        tokenize: () => {
          throw new Error("was tokenised")
        }
      }
      const failure = yield* Effect.flip(
        PromptTokens.make({ _tag: "Text", text: "é".repeat(16) }, untouched, noTemplate, 8)
      )
      expect(failure.message).toContain("at least 8 tokens")
    })
  )

  it.effect("that is a chat is refused where the model has no usable template", () =>
    Effect.gen(function* () {
      const prompt = { _tag: "Chat", messages: [{ role: "user", content: "hi" }] } as const
      expect(yield* Effect.flip(PromptTokens.make(prompt, vocabulary, noTemplate, 8))).toMatchObject({
        message: "no template"
      })
    })
  )
})
