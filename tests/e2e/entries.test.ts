/** Two real entries: what one measured, the other knows. */
import { expect } from "bun:test"
import { Effect, Schedule } from "effect"
import { it } from "../support/effect.ts"
import { startEntry, startPeer } from "../support/processes.ts"

const ask = (url: string) =>
  Effect.promise(async () => {
    const messages = [{ role: "user", content: "What is 7 plus 5?" }]
    const body = JSON.stringify({ model: "tiny-small-f16", messages, max_tokens: 8 })
    expect((await fetch(`${url}/v1/chat/completions`, { method: "POST", body })).status).toBe(200)
  })

/** Waits until an entry has so many samples of the model, 75 s at most. */
const knows = (url: string, samples: number) =>
  Effect.promise(async () => (await (await fetch(`${url}/api/status`)).json()).models[0]?.through?.samples).pipe(
    Effect.filterOrFail(
      (found) => found === samples,
      (found) => new Error(`${found} samples instead of ${samples}`)
    ),
    Effect.retry({ times: 150, schedule: Schedule.spaced("500 millis") })
  )

it.live(
  "an entry knows within 75 s what another measured, and counts it once beside its own",
  () =>
    Effect.gen(function* () {
      const token = { WEFT_ENTRIES_TOKEN: "between-us" }
      const first = yield* startEntry(token)
      yield* startPeer(first.url, { args: ["--no-baseline"] })
      yield* ask(first.url)
      const second = yield* startEntry({ ...token, WEFT_ENTRIES: first.url })
      yield* startPeer(second.url, { args: ["--no-baseline"] })
      yield* knows(second.url, 1)
      yield* ask(first.url)
      yield* ask(second.url)
      yield* knows(second.url, 3)
      yield* knows(first.url, 2)
    }),
  150_000
)
