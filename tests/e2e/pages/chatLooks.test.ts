/** The chat page in every state and look, over a door whose answers are given by hand: light, dark, phone, keyboard. */
import { expect } from "bun:test"
import type { GenerateEvent } from "@weft/engine/Generation"
import * as Tier from "@weft/entry/sla/Tier"
import { Effect, Either } from "effect"
import { type Door, open, type Turn } from "../../entry/support.ts"
import { type Browser, launch } from "../../support/browser/Browser.ts"
import { it } from "../../support/effect.ts"
import { ask, asking, last, pressButton, ready, turns } from "./chatPage.ts"

const tiers = Either.getOrThrow(Tier.parseList("daily-driver=plain,capacity=org*"))
const byHand = open({ answers: "hand", config: { tiers } })

/** Pixels of a desk and of the narrowest phone. */
const desk = { width: 1280, height: 900 }
const phone = { width: 360, height: 740 }

/** Most that may move after the first paint; browsers call 0.1 good. */
const shiftMax = 0.01

const begun: GenerateEvent = { _tag: "Started", promptTokens: 3, seed: 7 }
const said = (text: string): GenerateEvent => ({ _tag: "Delta", text, tokens: [1] })
const finished = (reason: "stop" | "length"): GenerateEvent => ({
  _tag: "Finished",
  finishReason: reason,
  usage: { promptTokens: 3, completionTokens: 64, cachedTokens: 0 }
})
const failed = (code: "engine_lost" | "context_length_exceeded", message = ""): GenerateEvent => ({
  _tag: "Failed",
  failure: { code, message }
})

const evil = `<img src=x onerror="document.title='hurt'"> & <b>not bold</b>`
const code = `function double(values: ReadonlyArray<number>): ReadonlyArray<number> {
  return values.map((v) => v * 2)
}`
const prose = `Map over them. ${evil}\n\nIt is one line:`

/** The page on a screen of this size, in the light. */
const opened = Effect.fnUntraced(function* (screen: typeof desk) {
  const door = yield* byHand
  const browser = yield* launch
  yield* browser.open(`${door.url}/chat`, { theme: "light", ...screen })
  yield* ready(browser)
  return { browser, door }
})

/** Asks, and takes the question at the other end of the door. */
const turnOf = (browser: Browser, door: Door, question: string): Effect.Effect<Turn> =>
  Effect.zipRight(ask(browser, question), door.turn)

const seen = (browser: Browser, text: string) =>
  browser.wait(`document.querySelector(".turns").textContent.includes(${JSON.stringify(text)})`)

const conversation = Effect.fnUntraced(function* (browser: Browser, door: Door, look: string) {
  const first = yield* turnOf(browser, door, "How do I double every number of a list?")
  yield* browser.wait(`document.querySelector(".waiting") !== null`)
  yield* first.send(begun, said(prose))
  yield* seen(browser, "one line:")
  yield* first.send(said(`\n\n\`\`\`ts\n${code}\n`))
  yield* seen(browser, "values.map")
  expect(yield* browser.violations).toEqual([])
  yield* browser.screenshot(`chat-coming-${look}`)
  yield* first.send(said("```\n\nThat is all."), finished("stop"))
  expect(yield* last(browser, "whole")).toMatchObject({ text: `${prose}|${code}|That is all.`, failure: null })
  expect(yield* browser.evaluate<unknown>(`[document.querySelectorAll("img, b").length, document.title]`)).toEqual([
    0,
    "Weft chat"
  ])
  const second = yield* turnOf(browser, door, `And a long word? ${"x".repeat(120)}`)
  expect(second.request.prompt).toMatchObject({
    messages: [
      { role: "user" },
      { role: "assistant", content: `${prose}\n\n\`\`\`ts\n${code}\n\`\`\`\n\nThat is all.` },
      { role: "user" }
    ]
  })
  yield* second.send(begun, said("It is"))
  yield* seen(browser, "It is")
  yield* second.send(failed("engine_lost"))
  expect((yield* last(browser, "failed")).failure).toBe(
    "The answer broke off. The peer was lost while it answered. Retry. What came stays."
  )
  expect(yield* browser.violations).toEqual([])
  expect(yield* browser.errors).toEqual([])
  yield* browser.screenshot(`chat-broken-${look}`)
})

it.live(
  "a conversation is accessible and nothing moves after the first paint: light, dark, and on a phone no wider than it",
  () =>
    Effect.gen(function* () {
      const door = yield* byHand
      const browser = yield* launch
      for (const theme of ["light", "dark"] as const) {
        yield* browser.open(`${door.url}/chat`, { theme, ...desk })
        yield* ready(browser)
        expect(yield* browser.evaluate<number>("globalThis.shifts")).toBeLessThan(shiftMax)
        expect(yield* browser.violations).toEqual([])
        yield* browser.screenshot(`chat-${theme}`)
        yield* conversation(browser, door, theme)
      }
      yield* browser.open(`${door.url}/chat`, { theme: "light", ...phone })
      yield* ready(browser)
      yield* browser.screenshot("chat-phone")
      yield* conversation(browser, door, "phone")
      expect(yield* browser.evaluate<number>("document.documentElement.scrollWidth")).toBe(phone.width)
    }),
  60_000
)

it.live(
  "every failure is told with what to do, and asking again answers it",
  () =>
    Effect.gen(function* () {
      const { browser, door } = yield* opened(desk)
      yield* asking(browser, { model: "busy" })
      yield* ask(browser, "Are you there?")
      expect((yield* last(browser, "failed")).failure).toMatch(
        /^The mesh is busy\. Every peer .*Ask again in [123] s\.$/s
      )
      expect((yield* turns(browser))[0]?.figures).toBe("")
      yield* browser.screenshot("chat-busy-light")
      yield* browser.wait(`document.querySelector(".wait").textContent === "You can ask again now."`)
      for (const [model, words] of [
        ["gone", "Nobody serves this model now. Choose another one, or ask again later."],
        ["nobody", "Nobody serves this model now. Choose another one, or ask again later."]
      ]) {
        yield* asking(browser, { model })
        yield* pressButton(browser, "Ask again")
        yield* browser.wait(`document.querySelector(".failure")?.innerText.startsWith(${JSON.stringify(words)})`)
      }
      yield* asking(browser, {})
      yield* pressButton(browser, "Ask again")
      const long = yield* door.turn
      yield* long.send(failed("context_length_exceeded", "The prompt has 600 tokens, the context 512."))
      yield* browser.wait(`document.querySelector(".failure")?.dataset.kind === "long"`)
      expect((yield* last(browser, "failed")).failure).toContain("600 tokens, the context 512. Begin a new chat")
      expect(yield* browser.violations).toEqual([])
      yield* browser.screenshot("chat-long-light")
      yield* pressButton(browser, "Ask again")
      const whole = yield* door.turn
      expect(yield* browser.evaluate<string>("document.activeElement.id")).toBe("question")
      yield* whole.send(begun, said("Yes."), finished("length"))
      expect((yield* last(browser, "whole")).text).toBe("Yes.")
      yield* seen(browser, "reached its longest length")
    }),
  60_000
)

it.live(
  "Stop lets go of the peer and keeps what came; what is stopped is no answer until it is asked again",
  () =>
    Effect.gen(function* () {
      const { browser, door } = yield* opened(desk)
      const turn = yield* turnOf(browser, door, "Count to a million.")
      yield* turn.send(begun, said("1 2 3"))
      yield* seen(browser, "1 2 3")
      yield* pressButton(browser, "Stop")
      yield* turn.closed
      expect(yield* last(browser, "stopped")).toMatchObject({ text: "1 2 3", failure: null })
      expect(yield* browser.evaluate<string>("document.activeElement.id")).toBe("question")
      yield* browser.screenshot("chat-stopped-light")
      yield* pressButton(browser, "Ask again")
      const again = yield* door.turn
      yield* again.send(begun, said("No."), finished("stop"))
      expect((yield* last(browser, "whole")).text).toBe("No.")
      const dropped = yield* turnOf(browser, door, "Once more?")
      yield* dropped.send(begun, said("Well"))
      yield* pressButton(browser, "New chat")
      yield* dropped.closed
      expect(yield* turns(browser)).toEqual([])
    }),
  60_000
)

const scrolled = (browser: Browser) =>
  browser.evaluate<{ readonly top: number; readonly below: number }>(
    `({ top: scrollY, below: document.documentElement.scrollHeight - innerHeight - scrollY })`
  )

it.live(
  "the end of a long answer stays in sight above the place to write, unless the reader has scrolled away from it",
  () =>
    Effect.gen(function* () {
      const { browser, door } = yield* opened(phone)
      const turn = yield* turnOf(browser, door, "Count to a hundred.")
      const lines = (from: number) => Array.from({ length: 50 }, (_, index) => said(`${from + index}\n`))
      yield* turn.send(begun, ...lines(1))
      yield* seen(browser, "49\n50")
      const first = yield* scrolled(browser)
      expect(first.top).toBeGreaterThan(0)
      expect(first.below).toBeLessThan(2)
      yield* browser.evaluate("scrollTo(0, 100)")
      yield* browser.evaluate("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
      yield* turn.send(...lines(51), finished("stop"))
      yield* last(browser, "whole")
      expect((yield* scrolled(browser)).top).toBe(100)
      yield* browser.screenshot("chat-long-phone")
    }),
  60_000
)

it.live(
  "without a script the page reads the same, and with one every control is reached and seen by the keyboard alone",
  () =>
    Effect.gen(function* () {
      const door = yield* byHand
      const browser = yield* launch
      const read = browser.evaluate<string>(`[...document.querySelectorAll("h1, .lead, option, .note")]
        .map((one) => one.textContent).join("|")`)
      yield* browser.open(`${door.url}/chat`, { theme: "light", ...desk, script: false })
      const plain = yield* read
      expect(plain).toContain("plain – daily driver")
      yield* browser.screenshot("chat-without-script")
      yield* browser.open(`${door.url}/chat`, { theme: "light", ...desk })
      yield* ready(browser)
      expect(yield* read).toBe(plain)

      for (const control of ["a", "a", "a", "button", "select", "textarea"]) {
        yield* browser.press("Tab")
        const focused = yield* browser.evaluate(
          `[document.activeElement.localName, getComputedStyle(document.activeElement).outlineStyle]`
        )
        expect(focused).toEqual([control, "solid"])
      }
      yield* browser.type("first")
      yield* browser.press("Shift+Enter")
      yield* browser.type("second")
      expect(yield* browser.evaluate<string>("document.activeElement.value")).toBe("first\nsecond")
      yield* browser.press("Shift+Tab")
      yield* browser.press("ArrowDown")
      yield* browser.press("Tab")
      yield* browser.press("Enter")
      const turn = yield* door.turn
      expect(turn.request).toMatchObject({
        model: "org/tiny:Q4_K_M",
        prompt: { messages: [{ role: "user", content: "first\nsecond" }] }
      })
      yield* turn.send(begun, said("Both."), finished("stop"))
      yield* last(browser, "whole")
      yield* browser.evaluate(`document.querySelector(".quiet").focus()`)
      yield* browser.press("Enter")
      yield* browser.wait(`document.documentElement.dataset.theme === "dark"`)
    }),
  60_000
)
