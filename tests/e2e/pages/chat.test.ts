/** The chat page in a real browser, over a real entry with real peers and their models. */
import { expect } from "bun:test"
import { Effect } from "effect"
import { endToken } from "../../engine/asking.ts"
import { type Browser, launch } from "../../support/browser/Browser.ts"
import { it } from "../../support/effect.ts"
import { modelPath, startEntry, startPeer } from "../../support/processes.ts"
import { ask, asking, last, paste, pressButton, ready, turns } from "./chatPage.ts"

const [small, nano] = ["tiny-small-f16", "tiny-nano-f16"] as const

const answerOf = (url: string, content: string) =>
  Effect.promise(async () => {
    const body = JSON.stringify({ model: small, messages: [{ role: "user", content }], temperature: 0 })
    const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", body })
    // as the API documents it
    const { choices } = (await response.json()) as {
      readonly choices: ReadonlyArray<{ readonly message: { readonly content: string } }>
    }
    return { text: choices[0]?.message.content, servedBy: response.headers.get("x-weft-served-by") }
  })

const busy = (browser: Browser) =>
  browser.evaluate<string>(`document.querySelector("[role=log]").getAttribute("aria-busy")`)

/** Waits until the answer is longer than it is now, and returns its length. */
const longer = Effect.fnUntraced(function* (browser: Browser) {
  const length = `(document.querySelector(".answer .words")?.textContent.length ?? 0)`
  const before = yield* browser.evaluate<number>(length)
  yield* browser.wait(`${length} > ${before}`)
  return yield* browser.evaluate<number>(length)
})

const defaultOf = (url: string) =>
  Effect.promise(async () => {
    const response = await fetch(`${url}/api/models/default`)
    return (await response.json()) as { readonly id: string | null; readonly tier: string | null }
  })

it.live(
  "without a model there is the command that adds a peer; then the daily driver is chosen, and answers as the API does",
  () =>
    Effect.gen(function* () {
      const entry = yield* startEntry({ WEFT_TIERS: "daily-driver=*small*,capacity=*nano*" })
      const browser = yield* launch
      expect(yield* browser.open(entry.url, { theme: "light", width: 1280 })).toBe(200)
      expect(yield* browser.evaluate<string>("location.pathname")).toBe("/chat")
      const command = yield* browser.evaluate<string>(`document.querySelector(".command code").textContent`)
      expect(command).toBe(`bun run peer up --entry ${entry.url} --model FILE.gguf`)
      expect(yield* browser.evaluate<boolean>(`document.querySelector("#question").disabled`)).toBe(true)
      expect(yield* browser.violations).toEqual([])
      yield* browser.screenshot("chat-empty-light")

      yield* startPeer(entry.url, { model: modelPath(nano) })
      yield* ready(browser)
      expect(yield* browser.evaluate<string>(`document.querySelector("select").value`)).toBe(nano)
      const peer = yield* startPeer(entry.url)
      yield* browser.reload
      yield* ready(browser)
      const chosen = yield* browser.evaluate<ReadonlyArray<string>>(`(() => {
        const select = document.querySelector("select")
        return [select.value, ...[...select.options].map((option) => option.textContent)]
      })()`)
      expect(chosen).toEqual([small, `${small} – daily driver`, `${nano} – capacity`])
      expect(yield* defaultOf(entry.url)).toMatchObject({ id: small, tier: "daily-driver" })

      yield* asking(browser, { temperature: 0 })
      yield* ask(browser, "What is 7 plus 5?")
      const { figures, ...turn } = yield* last(browser, "whole")
      const told = yield* answerOf(entry.url, "What is 7 plus 5?")
      expect(told).toEqual({ text: "7 plus 5 is 12.", servedBy: peer.id })
      expect(turn).toEqual({
        phase: "whole",
        question: "What is 7 plus 5?",
        text: "7 plus 5 is 12.",
        failure: null,
        servedBy: peer.id
      })
      expect(figures).toMatch(/^served by ….{6} one peer first text after [\d.]+ m?s \d+ tokens/)
      yield* browser.screenshot("chat-answer-light")

      yield* ask(browser, "Tell me a story about a fox.")
      yield* last(browser, "whole")
      yield* paste(browser, "fox ".repeat(8_000))
      expect((yield* last(browser, "failed")).failure).toStartWith(
        "The conversation is longer than the model can read."
      )
      expect((yield* turns(browser)).length).toBe(3)
      yield* pressButton(browser, "New chat")
      yield* browser.wait(`document.querySelectorAll(".turn").length === 0`)
      // the browser's own line for the refusal, and nothing else
      expect((yield* browser.errors).filter((error) => !error.includes("400 (Bad Request)"))).toEqual([])
    }),
  90_000
)

it.live(
  "a key is asked for, kept in the tab alone, and its limit told with the time to ask again; a lost entry is told too",
  () =>
    Effect.gen(function* () {
      const entry = yield* startEntry({ WEFT_API_KEYS: "ada:a-long-secret-of-ada:1" })
      yield* startPeer(entry.url)
      const browser = yield* launch
      yield* browser.open(`${entry.url}/chat`, { theme: "light", width: 1280 })
      yield* ready(browser)
      yield* asking(browser, { temperature: 0 })
      yield* ask(browser, "What is 7 plus 5?")
      expect((yield* last(browser, "failed")).failure).toStartWith("This entry asks for a key.")
      expect(yield* browser.violations).toEqual([])
      yield* browser.screenshot("chat-key-light")
      // the field has the focus when it comes
      yield* browser.type("a-wrong-secret")
      yield* browser.press("Enter")
      yield* browser.wait(`document.querySelector(".failure")?.innerText.includes("does not take this key")`)
      yield* browser.type("a-long-secret-of-ada")
      yield* browser.press("Enter")
      expect((yield* last(browser, "whole")).text).toBe("7 plus 5 is 12.")
      const kept = yield* browser.evaluate<ReadonlyArray<unknown>>(
        `[{ ...sessionStorage }, { ...localStorage }, document.cookie]`
      )
      expect(kept).toEqual([{ "weft-key": "a-long-secret-of-ada" }, {}, ""])

      yield* ask(browser, "What is 2 plus 5?")
      const limited = yield* last(browser, "failed")
      expect(limited.failure).toMatch(/^The limit of this key is reached\..*Ask again in (\d+ s|1 min)\.$/s)
      yield* browser.screenshot("chat-limit-light")

      yield* Effect.ignore(entry.process.kill("SIGKILL"))
      yield* pressButton(browser, "Ask again")
      yield* browser.wait(`document.querySelector(".failure")?.innerText.includes("cannot be reached")`)
      yield* browser.wait(
        `document.querySelector("[role=status]").textContent.startsWith("The entry cannot be reached.")`
      )
      expect((yield* turns(browser)).map(({ text }) => text)).toEqual(["7 plus 5 is 12.", ""])
      yield* browser.screenshot("chat-lost-light")
    }),
  90_000
)

it.live(
  "an answer comes piece by piece and Stop keeps what came; a lost peer is told of, and another one answers",
  () =>
    Effect.gen(function* () {
      const entry = yield* startEntry({ WEFT_MAX_FAILOVERS: "0" })
      const peer = yield* startPeer(entry.url, { args: ["--threads", "1"] })
      const browser = yield* launch
      yield* browser.open(`${entry.url}/chat`, { theme: "dark", width: 1280 })
      yield* ready(browser)
      // an answer that does not end by itself
      yield* asking(browser, { temperature: 0, logit_bias: { [endToken]: -100 } })
      yield* ask(browser, "Tell me a story about a fox.")
      const lengths = yield* Effect.replicateEffect(longer(browser), 3)
      expect(lengths.toSorted((a, b) => a - b)).toEqual(lengths)
      expect(yield* busy(browser)).toBe("true")
      yield* pressButton(browser, "Stop")
      const stopped = yield* last(browser, "stopped")
      expect(stopped.text.length).toBeGreaterThanOrEqual(lengths[2] ?? 0)
      expect(yield* busy(browser)).toBe("false")

      yield* pressButton(browser, "Ask again")
      yield* longer(browser)
      expect((yield* turns(browser)).length).toBe(1)
      yield* Effect.ignore(peer.process.kill("SIGKILL"))
      const broken = yield* last(browser, "failed")
      expect(broken.text).not.toBe("")
      expect(broken.failure).toStartWith("The answer broke off.")
      yield* browser.screenshot("chat-broken-dark")
      yield* startPeer(entry.url)
      yield* asking(browser, { temperature: 0 })
      yield* pressButton(browser, "Ask again")
      expect((yield* last(browser, "whole")).failure).toBeNull()
    }),
  90_000
)
