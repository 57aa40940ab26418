/** Elections and labels on the status page in a real browser, over a real entry and peer: as the API has them. */
import { expect } from "bun:test"
import type { ElectedPeer, StatusDocument } from "@weft/entry/status/StatusDocument"
import { Effect, Schedule } from "effect"
import { type Browser, launch } from "../../support/browser/Browser.ts"
import { it } from "../../support/effect.ts"
import { directory, modelPath, run, startEntry, startPeer } from "../../support/processes.ts"

const [small, nano] = ["tiny-small-f16", "tiny-nano-f16"] as const
/** Room for either model, and not for both. */
const room = ["--max-memory", "17MB", "--context", "512", "--slots", "2", "--threads", "1"]

const words = { worker: "worker", standby: "standby", dropped: "not counted on" }

/** What the page shows of each model: how it is served, who serves it with which labels, and whom it elected why. */
const shown = (browser: Browser) =>
  browser.evaluate<ReadonlyArray<Shown>>(`[...document.querySelectorAll("details.model")].map((row) => {
    const read = (selector) => [...row.querySelectorAll(selector + " tbody tr")].map((line) =>
      [line.querySelector("code").title, ...[...line.querySelectorAll(".labels b, td")].map((one) => one.textContent)])
    return {
      id: row.dataset.model,
      mode: row.querySelectorAll(".cell")[1].lastElementChild.textContent.trim(),
      labels: read(".peers:not(.elected)").map(([id, ...cells]) => [id, ...cells.slice(0, -6)]),
      elected: read(".elected")
    }
  })`)

interface Shown {
  readonly id: string
  readonly mode: string
  readonly labels: ReadonlyArray<ReadonlyArray<string>>
  readonly elected: ReadonlyArray<ReadonlyArray<string>>
}

const labelsOf = ({ labels: { region, trust } }: Pick<ElectedPeer, "labels">) =>
  [region, trust].filter((label) => label !== null)

const expectedOf = ({ models }: StatusDocument): ReadonlyArray<Shown> =>
  models.map(({ elected, id, mode, peers }) => ({
    id,
    mode: mode ?? "standby",
    labels: peers.map((peer) => [peer.id, ...labelsOf(peer)]),
    elected: elected.map((peer) => [peer.id, ...labelsOf(peer), words[peer.role], peer.why])
  }))

/** Waits until the page shows what the API says, and `holds`; returns the API's document. */
const agree = (browser: Browser, url: string, holds: (document: StatusDocument) => boolean) =>
  Effect.gen(function* () {
    const page = JSON.stringify(yield* shown(browser))
    const document = yield* Effect.promise(
      async () => (await (await fetch(`${url}/api/status`)).json()) as StatusDocument
    )
    const expected = JSON.stringify(expectedOf(document))
    if (holds(document) && page === expected) return document
    return yield* Effect.fail(new Error(`the page has ${page}, the API ${expected}`))
  }).pipe(Effect.retry(Schedule.spaced("100 millis").pipe(Schedule.upTo("30 seconds"))))

const rolesOf = ({ models }: StatusDocument) =>
  models.map(({ elected, id, mode }) => [id, mode, ...elected.map(({ role }) => role)])

it.live(
  "the page shows whom the entry elected and why, with the labels that count, and follows a change of worker",
  () =>
    Effect.gen(function* () {
      const dataDirectory = yield* directory
      const identity = yield* run(["run", "apps/peer/src/main.ts", "identity", "--json", "--data-dir", dataDirectory])
      const { id } = JSON.parse(identity.stdout) as { readonly id: string }
      const entry = yield* startEntry({ WEFT_TRUST: `staff=${id}` })
      const labels = ["--region", "eu-west", "--trust", "staff", "--name", "ada"]
      const args = ["--model", modelPath(nano), ...room, ...labels]
      yield* startPeer(entry.url, { model: modelPath(small), args, dataDirectory })
      const browser = yield* launch
      yield* browser.open(`${entry.url}/status`, { theme: "light", width: 1280 })
      const first = yield* agree(browser, entry.url, ({ models }) => models.some(({ elected }) => elected.length > 0))
      expect(rolesOf(first)).toEqual([
        [small, "solo", "worker"],
        [nano, null, "standby"]
      ])
      expect(first.models[0]?.peers[0]?.labels).toEqual({ region: "eu-west", trust: "staff" })
      expect(first.models[1]?.elected[0]?.why).toStartWith(`no room beside ${small}`)
      yield* browser.evaluate(`document.querySelectorAll("details").forEach((row) => { row.open = true })`)
      expect(yield* browser.violations).toEqual([])
      yield* browser.screenshot("status-elections-light")

      const asked = yield* Effect.promise(() =>
        fetch(`${entry.url}/v1/chat/completions`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ model: nano, messages: [{ role: "user", content: "Repeat: red" }] })
        })
      )
      expect(asked.status).toBe(404)
      const later = yield* agree(browser, entry.url, ({ models }) => models[0]?.id === nano)
      expect(rolesOf(later)).toEqual([
        [nano, "solo", "worker"],
        [small, null, "standby"]
      ])
      expect(yield* browser.errors).toEqual([])
    }),
  90_000
)
