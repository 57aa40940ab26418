/** One model of a real mesh as the status page shows it, held against what the API says of it. */
import { duration, percent, threeDigits } from "@weft/entry/page/Format"
import type { ModelStatus, StatusDocument } from "@weft/entry/status/StatusDocument"
import { type Duration, Effect, Schedule } from "effect"
import type { Browser } from "../../support/browser/Browser.ts"

/** The model whose row is read. */
export const model = "tiny-small-f16"

const status = (url: string) =>
  Effect.promise(async () => (await (await fetch(`${url}/api/status`)).json()) as StatusDocument)

/** Returns the row of the model, the peers below it, its stages, and the headline. */
export const shown = (browser: Browser) =>
  browser.evaluate<Shown>(`(() => {
    const text = (element) => element?.innerText.replace(/\\s+/g, " ").trim()
    const row = document.querySelector('details[data-model="${model}"]')
    const cells = [...(row?.querySelectorAll("summary .cell") ?? [])].map((cell) => {
      const copy = cell.cloneNode(true)
      for (const hidden of copy.querySelectorAll(".label, .hidden, svg")) hidden.remove()
      return copy.textContent.replace(/\\s+/g, " ").trim()
    })
    return {
      headline: text(document.querySelector("h1")) ?? "",
      cells,
      peers: [...(row?.querySelectorAll(".peers:not(.elected) tbody code") ?? [])].map((id) => id.title),
      stages: [...(row?.querySelectorAll(".stage-layers") ?? [])].map((stage) => stage.textContent)
    }
  })()`)

/** Represents what the page shows. */
export interface Shown {
  readonly headline: string
  readonly cells: ReadonlyArray<string>
  readonly peers: ReadonlyArray<string>
  readonly stages: ReadonlyArray<string>
}

const measure = ({ unit, value }: { readonly value: string; readonly unit: string }) => `${value} ${unit}`

/** What the page must show of a model; the sparkline has no text. */
const expectedOf = (one: ModelStatus): Omit<Shown, "headline"> => {
  const words = { green: "good", amber: "fair", red: "poor" }
  const { grade, ratio } = one.efficiency
  return {
    cells: [
      one.tier,
      one.mode ?? "not served",
      String(one.peerCount),
      one.through?.tokensPerSecond == null ? "–" : `${threeDigits(one.through.tokensPerSecond.p50)} tok/s`,
      one.native === null ? "–" : `${threeDigits(one.native.tokensPerSecond)} tok/s`,
      ratio === null || grade === "unmeasured" ? "not measured" : `${measure(percent(ratio))} ${words[grade]}`,
      one.through === null ? "–" : measure(duration(one.through.ttftMs.p50)),
      ""
    ],
    peers: one.peers.map(({ id }) => id),
    stages: (one.stages ?? []).map(({ from, to }) => `${from}–${to - 1}`)
  }
}

/** Waits until the page shows what the API says of the model, and `holds`; returns the API's document. */
export const agree = (
  browser: Browser,
  url: string,
  holds: (one: ModelStatus, document: StatusDocument) => boolean,
  within: Duration.DurationInput = "40 seconds"
) =>
  Effect.gen(function* () {
    const { headline: _, ...page } = yield* shown(browser)
    const document = yield* status(url)
    const one = document.models.find(({ id }) => id === model)
    if (one === undefined || !holds(one, document)) {
      return yield* Effect.fail(new Error(`the API says ${JSON.stringify(one)}`))
    }
    const expected = expectedOf(one)
    const isSame = JSON.stringify(page) === JSON.stringify(expected)
    return isSame ? document : yield* Effect.fail(new Error(`${JSON.stringify([page, expected])} differ`))
  }).pipe(Effect.retry(Schedule.spaced("100 millis")), Effect.timeout(within))
