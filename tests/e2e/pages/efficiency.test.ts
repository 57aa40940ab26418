/** Efficiency from its two real sides, a peer's baseline and answers through the mesh, to the page in its colour. */
import { expect } from "bun:test"
import { duration } from "@weft/entry/page/Format"
import { amberFrom, greenFrom } from "@weft/entry/status/StatusModel"
import { Effect, Schedule } from "effect"
import { endToken } from "../../engine/asking.ts"
import { type Browser, launch } from "../../support/browser/Browser.ts"
import { it } from "../../support/effect.ts"
import { startEntry, startPeer } from "../../support/processes.ts"
import { agree, model } from "./modelRow.ts"

/** The light theme's tokens as a browser computes them. */
const colours = { green: "rgb(16, 112, 63)", amber: "rgb(138, 88, 0)", red: "rgb(179, 38, 30)" }

/** An answer of 128 tokens, as many as the baseline's, so that there is time between its pieces. */
const answer = (url: string) =>
  Effect.promise(async () => {
    const messages = [{ role: "user", content: "Tell me a story about a fox." }]
    const body = { model, messages, stream: true, temperature: 0, logit_bias: { [endToken]: -100 }, max_tokens: 128 }
    const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", body: JSON.stringify(body) })
    return response.text()
  })

/** What stands in the opened row beside its line. */
const facts = (browser: Browser) =>
  browser.evaluate<Record<string, string>>(`(() => {
    const read = (one) => {
      const copy = one.cloneNode(true)
      for (const hidden of copy.querySelectorAll(".hidden")) hidden.remove()
      return copy.textContent
    }
    return Object.fromEntries([...document.querySelectorAll(".facts > div")].map((fact) =>
      [fact.querySelector("dt").textContent, read(fact.querySelector("dd"))]))
  })()`)

const metrics = (url: string) => Effect.promise(async () => (await fetch(`${url}/metrics`)).text())

const gradeColour = (browser: Browser) =>
  browser.evaluate<string>(`getComputedStyle(document.querySelector("summary .grade")).color`)

it.live(
  "before the baseline there is no measurement yet; after it API, page and metrics show the efficiency of real answers",
  () =>
    Effect.gen(function* () {
      const { url } = yield* startEntry()
      yield* startPeer(url)
      const browser = yield* launch
      yield* browser.open(`${url}/status`, { theme: "light", width: 1280 })
      yield* Effect.replicateEffect(answer(url), 3)
      const before = yield* agree(browser, url, ({ through }) => through?.samples === 3)
      expect(before.models[0]).toMatchObject({ native: null, efficiency: { ratio: null, grade: "unmeasured" } })
      expect(before.models[0]?.through?.tokensPerSecond).not.toBeNull()
      yield* browser.evaluate(`document.querySelector("details").open = true`)
      expect(yield* facts(browser)).toMatchObject({ "Native first text": "–", "Native runs": "–" })
      yield* browser.screenshot("status-unmeasured-light")

      // half a minute after it is ready, and while nobody asks
      const after = yield* agree(browser, url, ({ efficiency }) => efficiency.ratio !== null, "90 seconds")
      const [one] = after.models
      const { grade, ratio } = one?.efficiency ?? {}
      const [through, native] = [one?.through, one?.native]
      if (ratio == null || through?.tokensPerSecond == null || native == null) throw new Error("it was measured")
      expect(native.runs).toBeGreaterThan(0)
      expect(ratio).toBeCloseTo(through.tokensPerSecond.p50 / native.tokensPerSecond, 6)
      const colour = ratio >= greenFrom ? "green" : ratio >= amberFrom ? "amber" : "red"
      expect(grade).toBe(colour)
      expect(yield* gradeColour(browser)).toBe(colours[colour])
      const { unit, value } = duration(native.ttftMs)
      expect(yield* facts(browser)).toMatchObject({
        "Native first text": `${value} ${unit}`,
        "Native runs": `${native.runs} of 3`
      })
      expect(yield* browser.violations).toEqual([])
      yield* browser.screenshot("status-efficiency-light")
      yield* Effect.retry(
        Effect.filterOrFail(metrics(url), (text) => text.includes(`weft_model_efficiency_ratio{model="${model}"} `)),
        { times: 100, schedule: Schedule.spaced("100 millis") }
      )
    }),
  150_000
)
