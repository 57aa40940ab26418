/** The chat page in a real browser, over a real entry with real peers and their models. */
import { expect } from "bun:test"
import { Effect, Schedule } from "effect"
import { launch } from "../../support/browser/Browser.ts"
import { it } from "../../support/effect.ts"
import { modelPath, startEntry, startPeer } from "../../support/processes.ts"
import { ask, last, pressButton, ready, turns } from "./chatPage.ts"

const [small, nano] = ["tiny-small-f16", "tiny-nano-f16"] as const

const answerOf = (url: string, content: string, headers: Record<string, string> = {}) =>
  Effect.promise(async () => {
    const body = JSON.stringify({ model: small, messages: [{ role: "user", content }] })
    const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", body, headers })
    // as the API documents it
    const { choices } = (await response.json()) as {
      readonly choices: ReadonlyArray<{ readonly message: { readonly content: string } }>
    }
    return { text: choices[0]?.message.content, servedBy: response.headers.get("x-weft-served-by") }
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

      yield* ask(browser, "Repeat: red green blue")
      const { figures, ...turn } = yield* last(browser, "whole")
      const told = yield* answerOf(entry.url, "Repeat: red green blue")
      expect(told).toEqual({ text: "red green blue", servedBy: peer.id })
      expect(turn).toEqual({
        phase: "whole",
        question: "Repeat: red green blue",
        text: "red green blue",
        failure: null,
        servedBy: peer.id
      })
      expect(figures).toMatch(/^served by ….{6} one peer first text after [\d.]+ m?s \d+ tokens/)
      yield* browser.screenshot("chat-answer-light")

      yield* ask(browser, "Tell me a story about a fox.")
      yield* last(browser, "whole")
      expect((yield* turns(browser)).length).toBe(2)
      yield* pressButton(browser, "New chat")
      yield* browser.wait(`document.querySelectorAll(".turn").length === 0`)
      expect(yield* browser.errors).toEqual([])
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
      yield* ask(browser, "Repeat: red")
      expect((yield* last(browser, "failed")).failure).toStartWith("This entry asks for a key.")
      expect(yield* browser.violations).toEqual([])
      yield* browser.screenshot("chat-key-light")
      yield* browser.evaluate(`document.querySelector("#key").focus()`)
      yield* browser.type("a-wrong-secret")
      yield* browser.press("Enter")
      yield* browser.wait(`document.querySelector(".failure")?.innerText.includes("does not take this key")`)
      yield* browser.evaluate(`document.querySelector("#key").focus()`)
      yield* browser.type("a-long-secret-of-ada")
      yield* browser.press("Enter")
      expect((yield* last(browser, "whole")).text).toBe("red")
      const kept = yield* browser.evaluate<ReadonlyArray<unknown>>(
        `[{ ...sessionStorage }, { ...localStorage }, document.cookie]`
      )
      expect(kept).toEqual([{ "weft-key": "a-long-secret-of-ada" }, {}, ""])

      yield* ask(browser, "Repeat: green")
      const limited = yield* last(browser, "failed")
      expect(limited.failure).toMatch(/^The limit of this key is reached\..*Ask again in \d+ s\.$/s)
      yield* browser.screenshot("chat-limit-light")

      yield* Effect.ignore(entry.process.kill("SIGKILL"))
      yield* pressButton(browser, "Ask again")
      yield* browser.wait(`document.querySelector(".failure")?.innerText.includes("cannot be reached")`)
      yield* browser.wait(
        `document.querySelector("[role=status]").textContent.startsWith("The entry cannot be reached.")`
      )
      expect((yield* turns(browser)).map(({ text }) => text)).toEqual(["red", ""])
      yield* browser.screenshot("chat-lost-light")
    }),
  90_000
)

it.live(
  "when the only peer is lost in the middle, what came stays, the failure is told, and another peer answers the next try",
  () =>
    Effect.gen(function* () {
      const entry = yield* startEntry({ WEFT_MAX_FAILOVERS: "0" })
      const peer = yield* startPeer(entry.url, { args: ["--threads", "1"] })
      const browser = yield* launch
      yield* browser.open(`${entry.url}/chat`, { theme: "dark", width: 1280 })
      yield* ready(browser)
      const words = Array.from({ length: 40 }, (_, index) => `w${index}`).join(" ")
      yield* ask(browser, `Repeat: ${words}`)
      yield* browser.wait(`document.querySelector(".answer .words") !== null`)
      yield* Effect.ignore(peer.process.kill("SIGKILL"))
      const broken = yield* last(browser, "failed")
      expect(broken.text).not.toBe("")
      expect(broken.failure).toStartWith("The answer broke off.")
      yield* browser.screenshot("chat-broken-dark")
      yield* startPeer(entry.url)
      yield* pressButton(browser, "Ask again").pipe(
        Effect.zipRight(browser.wait(`document.querySelector(".turn").dataset.phase === "whole"`, 2_000)),
        Effect.sandbox,
        Effect.retry(Schedule.recurs(5))
      )
    }),
  90_000
)
