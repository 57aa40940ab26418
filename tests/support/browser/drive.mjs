/**
 * Drives one Chromium for `Browser.ts`: takes a command as a line of JSON, carries it out, and answers with a line.
 * Runs in Node, as Bun does not carry Playwright's pipes reliably. Ends with its standard input.
 */
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { createInterface } from "node:readline"
import { chromium } from "playwright-core"

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8")
const [executablePath] = process.argv.slice(2)
const browser = await chromium.launch({
  executablePath,
  // containers have a small /dev/shm; root has no sandbox
  args: ["--disable-dev-shm-usage", "--disable-gpu", ...(process.getuid?.() === 0 ? ["--no-sandbox"] : [])]
})
let page
let errors = []

/** Notes how much of what was shown has moved, from the first paint on. */
const watchShifts = () => {
  globalThis.shifts = 0
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) globalThis.shifts += entry.hadRecentInput ? 0 : entry.value
  }).observe({ type: "layout-shift", buffered: true })
}

const commands = {
  open: async ({ height, script, theme, width }) => {
    await page?.context().close()
    const context = await browser.newContext({
      viewport: { width, height },
      colorScheme: theme,
      javaScriptEnabled: script,
      reducedMotion: "reduce",
      locale: "en-GB",
      timezoneId: "Europe/Berlin"
    })
    page = await context.newPage()
    errors = []
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()))
    page.on("pageerror", (error) => errors.push(String(error)))
    if (script) await page.addInitScript(watchShifts)
  },
  reload: async () => {
    await page.reload()
  },
  goto: async ({ url }) => (await page.goto(url)).status(),
  evaluate: ({ expression }) => page.evaluate(expression),
  // Playwright's own wait evaluates in the page, which the content security policy forbids, as it should.
  wait: async ({ expression, withinMs }) => {
    const end = performance.now() + withinMs
    while (!(await page.evaluate(expression))) {
      if (performance.now() > end) throw new Error(`not within ${withinMs} ms`)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  },
  press: ({ key }) => page.keyboard.press(key),
  type: ({ text }) => page.keyboard.type(text),
  errors: async () => errors,
  axe: async () => {
    await page.evaluate(axeSource)
    const { violations } = await page.evaluate('axe.run({ resultTypes: ["violations"] })')
    return violations.map(({ help, id, nodes }) => ({ id, help, at: nodes.map(({ html }) => html.slice(0, 200)) }))
  },
  screenshot: async ({ path }) => {
    await page.screenshot({ path, fullPage: true })
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { name, ...parameters } = JSON.parse(line)
  const answer = await commands[name](parameters).then(
    (value) => ({ value: value ?? null }),
    (error) => ({ error: String(error) })
  )
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
await browser.close()
