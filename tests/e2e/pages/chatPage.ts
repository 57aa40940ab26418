/** The chat page as its tests use it: with the keyboard, and read as a person reads it. */
import { Effect } from "effect"
import type { Browser } from "../../support/browser/Browser.ts"

/** Represents one turn as it stands on the page. */
export interface ShownTurn {
  readonly phase: string
  readonly question: string
  /** The answer's prose and code, without who gave it. */
  readonly text: string
  readonly failure: string | null
  readonly servedBy: string | null
  readonly figures: string
}

/** Returns the turns. */
export const turns = (browser: Browser) =>
  browser.evaluate<ReadonlyArray<ShownTurn>>(`[...document.querySelectorAll(".turn")].map((turn) => ({
    phase: turn.dataset.phase,
    question: turn.querySelector(".question .words").textContent,
    text: [...turn.querySelectorAll(".answer > .words, .answer > .code")].map((one) => one.textContent).join("|"),
    failure: turn.querySelector(".failure > p")?.innerText ?? null,
    servedBy: turn.querySelector(".served code")?.title ?? null,
    figures: turn.querySelector(".served")?.innerText.replace(/\\s+/g, " ") ?? ""
  }))`)

/** Waits until the page can be written on. */
export const ready = (browser: Browser) => browser.wait(`document.querySelector("#question:enabled") !== null`)

/** Adds fields to what the page asks, until it is loaded again: without `temperature: 0` a model says what it likes. */
export const asking = (browser: Browser, fields: object) =>
  browser.evaluate(`(() => {
    const plain = globalThis.plainFetch ??= globalThis.fetch
    globalThis.fetch = (url, init) => plain(url, init?.method !== "POST" ? init
      : { ...init, body: JSON.stringify({ ...JSON.parse(init.body), ...${JSON.stringify(fields)} }) })
  })()`)

/** Writes a question and sends it with Enter. */
export const ask = Effect.fnUntraced(function* (browser: Browser, question: string) {
  yield* browser.evaluate(`document.querySelector("#question").focus()`)
  yield* browser.type(question)
  yield* browser.press("Enter")
})

/** Pastes a question, as nobody types so long a one, and sends it. */
export const paste = Effect.fnUntraced(function* (browser: Browser, question: string) {
  yield* browser.evaluate(`(() => {
    const field = document.querySelector("#question")
    field.focus()
    document.execCommand("insertText", false, ${JSON.stringify(question)})
  })()`)
  yield* browser.press("Enter")
})

/** Waits until the last answer is in a phase, and returns its turn. */
export const last = Effect.fnUntraced(function* (browser: Browser, phase: string) {
  yield* browser.wait(`[...document.querySelectorAll(".turn")].at(-1)?.dataset.phase === "${phase}"`)
  const turn = (yield* turns(browser)).at(-1)
  return turn ?? (yield* Effect.dieMessage("there is a turn"))
})

/** Presses the button that is called so; dies where there is none. */
export const pressButton = (browser: Browser, name: string) =>
  Effect.zipRight(
    browser.evaluate(`(() => {
      const named = [...document.querySelectorAll("button:enabled")].find((one) => one.textContent === "${name}")
      named.focus()
    })()`),
    browser.press("Enter")
  )
