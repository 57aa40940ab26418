/** The status page in every state and look: light, dark, on a phone, without a script, with the keyboard alone. */
import { expect } from "bun:test"
import { statusOf } from "@weft/entry/status/StatusModel"
import { Effect } from "effect"
import { busyMesh } from "../../entry/status/busyMesh.ts"
import { open } from "../../entry/support.ts"
import { type Browser, launch } from "../../support/browser/Browser.ts"
import { it } from "../../support/effect.ts"

const busy = open({ status: Effect.succeed(statusOf(busyMesh)) })

/** Pixels of a desk and of the narrowest phone. */
const desk = { width: 1280, height: 900 }
const phone = { width: 360, height: 740 }

/** Most that may move after the first paint; browsers call 0.1 good. */
const shiftMax = 0.01

const live = (browser: Browser) => browser.wait(`document.querySelector(".link.live") !== null`)
const drawn = (browser: Browser, charts: number) =>
  browser.wait(`document.querySelectorAll("canvas").length === ${charts}`)

const open360 = Effect.fnUntraced(function* (browser: Browser, url: string) {
  yield* browser.open(`${url}/status`, { theme: "light", ...phone })
  yield* drawn(browser, 3)
  const width = browser.evaluate<number>("document.documentElement.scrollWidth")
  expect(yield* width).toBe(phone.width)
  yield* browser.screenshot("status-phone")
  yield* openAll(browser)
  expect(yield* width).toBe(phone.width)
  const columns = yield* browser.evaluate<ReadonlyArray<number>>(`[...document.querySelectorAll(".peers tbody tr")]
    .map((row) => getComputedStyle(row).gridTemplateColumns.split(" ").length)`)
  expect(new Set(columns)).toEqual(new Set([2]))
  expect(yield* browser.violations).toEqual([])
  yield* browser.screenshot("status-open-phone")
})

const openAll = (browser: Browser) =>
  Effect.zipRight(
    browser.evaluate(`document.querySelectorAll("details").forEach((row) => { row.open = true })`),
    // three for all models, and three for each of the four that something was measured of
    drawn(browser, 15)
  )

const openAtDesk = Effect.fnUntraced(function* (browser: Browser, url: string, theme: "light" | "dark") {
  yield* browser.open(`${url}/status`, { theme, ...desk })
  yield* live(browser)
  yield* drawn(browser, 3)
  expect(yield* browser.evaluate<number>("globalThis.shifts")).toBeLessThan(shiftMax)
  yield* browser.screenshot(`status-${theme}`)
  yield* openAll(browser)
  expect(yield* browser.violations).toEqual([])
  expect(yield* browser.errors).toEqual([])
  yield* browser.screenshot(`status-open-${theme}`)
})

it.live(
  "every state is accessible and nothing moves after the first paint: light, dark, and on a phone no wider than it",
  () =>
    Effect.gen(function* () {
      const { url } = yield* busy
      const browser = yield* launch
      yield* openAtDesk(browser, url, "light")
      yield* openAtDesk(browser, url, "dark")
      yield* open360(browser, url)
    }),
  60_000
)

/** Everything that is read, without what only the script can know: how old it is, and the reader's own hours. */
const read = (browser: Browser) =>
  browser.evaluate<string>(`[...document.querySelectorAll("h1, .lead, .cards, .model > summary, .chain text")]
    .map((one) => one.textContent).join("|")`)

it.live(
  "without a script the page reads the same, and with one every control is reached and seen by the keyboard alone",
  () =>
    Effect.gen(function* () {
      const { url } = yield* busy
      const browser = yield* launch
      yield* browser.open(`${url}/status`, { theme: "light", ...desk, script: false })
      const plain = yield* read(browser)
      expect(plain).toContain("39.6 tok/s")
      yield* browser.screenshot("status-without-script")
      yield* browser.open(`${url}/status`, { theme: "light", ...desk })
      yield* live(browser)
      expect(yield* read(browser)).toBe(plain)

      const controls = ["a", "a", "a", "button", ...Array.from({ length: 6 }, () => "summary"), "input", "select", "a"]
      for (const control of controls) {
        yield* browser.press("Tab")
        const focused = yield* browser.evaluate(`(() => {
          const at = document.activeElement
          const seen = at.matches(".choice input") ? at.nextElementSibling : at
          return [at.localName, getComputedStyle(seen).outlineStyle]
        })()`)
        expect(focused).toEqual([control, "solid"])
      }
      yield* choices(browser)
    }),
  60_000
)

const choices = Effect.fnUntraced(function* (browser: Browser) {
  const label = browser.evaluate<string>(`document.querySelector(".history .lines").getAttribute("aria-label")`)
  expect(yield* label).toContain("gemma")
  yield* browser.evaluate(`(() => {
    const select = document.querySelector("select")
    select.value = "qwen3-4b"
    select.dispatchEvent(new Event("change", { bubbles: true }))
  })()`)
  yield* browser.wait(`!document.querySelector(".history .lines").getAttribute("aria-label").includes("gemma")`)
  expect(yield* label).toContain("qwen3-4b at most 37.5")
  yield* browser.evaluate(`document.querySelectorAll(".choice input")[1].click()`)
  yield* browser.wait(
    `performance.getEntriesByType("resource").some(({ name }) => name.endsWith("/api/status/history?hours=168"))`
  )
  yield* browser.evaluate(`document.querySelector(".quiet").focus()`)
  yield* browser.press("Enter")
  yield* browser.wait(`document.documentElement.dataset.theme === "dark"`)
  yield* browser.reload
  yield* live(browser)
  expect(yield* browser.evaluate<string>("getComputedStyle(document.documentElement).colorScheme")).toBe("dark")
})
