/** The status page in a real browser, over a real entry with real peers: its figures are the API's, live and lost. */
import { expect } from "bun:test"
import { Effect } from "effect"
import { launch } from "../../support/browser/Browser.ts"
import { it } from "../../support/effect.ts"
import { startEntry, startPeer } from "../../support/processes.ts"
import { agree, model, shown } from "./modelRow.ts"

/** Room for five or six of the model's eight layers, and not for all of it. */
const lent = ["--max-memory", "9MB", "--context", "512", "--slots", "2"]

const ask = (url: string) =>
  Effect.promise(() =>
    fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model, messages: [{ role: "user", content: "Count from 3 to 9." }], temperature: 0 })
    }).then((response) => response.text())
  )

it.live(
  "an empty mesh shows the command that adds a peer; with peers the page follows the API, and says when it is lost",
  () =>
    Effect.gen(function* () {
      const entry = yield* startEntry()
      const browser = yield* launch
      expect(yield* browser.open(`${entry.url}/status`, { theme: "light", width: 1280 })).toBe(200)
      const command = yield* browser.evaluate<string>(`document.querySelector(".command code").textContent`)
      expect(command).toBe(`bun run peer up --entry ${entry.url} --model FILE.gguf`)
      expect(yield* browser.violations).toEqual([])
      yield* browser.screenshot("status-empty-light")

      yield* Effect.all(
        ["ada", "ben"].map((name) => startPeer(entry.url, { args: ["--name", name] })),
        { concurrency: 2 }
      )
      yield* ask(entry.url)
      yield* agree(browser, entry.url, ({ mode, peers, through }, { share }) => {
        return mode === "solo" && peers.length === 2 && through?.samples === 1 && share.day.mesh === 1
      })
      expect((yield* shown(browser)).headline).toBe("2 peers serve 1 model")
      yield* browser.evaluate(`document.querySelector("summary").focus()`)
      yield* browser.press("Enter")
      yield* browser.wait(`document.querySelector("details").open`)
      expect(yield* browser.violations).toEqual([])
      yield* browser.screenshot("status-peers-light")

      const before = yield* shown(browser)
      yield* Effect.ignore(entry.process.kill("SIGKILL"))
      yield* browser.wait(`document.querySelector(".link.lost") !== null`)
      expect(yield* browser.evaluate<string>(`document.querySelector("[role=status]").textContent`)).toStartWith(
        "The entry cannot be reached."
      )
      expect(yield* shown(browser)).toEqual(before)
      yield* browser.screenshot("status-lost-light")
    }),
  90_000
)

it.live(
  "a split shows its stages while it serves, and a peer that has the whole model ends that on the page",
  () =>
    Effect.gen(function* () {
      const entry = yield* startEntry()
      const browser = yield* launch
      yield* browser.open(`${entry.url}/status`, { theme: "dark", width: 1280 })
      yield* Effect.all(
        [1, 2].map(() => startPeer(entry.url, { args: lent })),
        { concurrency: 2 }
      )
      yield* browser.wait(`document.querySelector('details[data-model="${model}"]') !== null`, 40_000)
      const { models } = yield* agree(browser, entry.url, ({ stages }) => stages?.length === 2)
      expect(models[0]?.mode).toBe("split")
      expect(models[0]?.stages?.map(({ from, to }) => [from, to])).toEqual([
        [0, expect.any(Number)],
        [models[0]?.stages?.[0]?.to, 8]
      ])
      yield* browser.evaluate(`document.querySelector("details").open = true`)
      expect(yield* browser.violations).toEqual([])
      yield* browser.screenshot("status-split-dark")

      const whole = yield* startPeer(entry.url)
      const later = yield* agree(browser, entry.url, ({ mode }) => mode === "solo")
      expect(later.models[0]?.stages).toBeNull()
      expect(later.models[0]?.peers.map(({ id }) => String(id))).toEqual([whole.id])
      expect(yield* browser.errors).toEqual([])
    }),
  90_000
)
