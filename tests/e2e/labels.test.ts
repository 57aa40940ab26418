/** Labels from the peer's command line to the client's answer: a region is the peer's word, trust is the entry's. */
import { expect } from "bun:test"
import { Effect } from "effect"
import { it } from "../support/effect.ts"
import { modelPath, run, startEntry, startPeer } from "../support/processes.ts"

const model = "tiny-nano-f16"

/** Asks for a few tokens with these headers. */
const ask = (url: string, headers: Record<string, string>) =>
  Effect.promise(async () => {
    const body = JSON.stringify({ model, messages: [{ role: "user", content: "Repeat: red" }], max_tokens: 4 })
    const json = { "content-type": "application/json" }
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      body,
      headers: { ...json, ...headers }
    })
    return { status: response.status, headers: response.headers, text: await response.text() }
  })

it.live(
  "a request finds the peer of its region; trust is found where the entry vouches, and nowhere else",
  () =>
    Effect.gen(function* () {
      const first = yield* startEntry()
      const labels = ["--region", "eu-west", "--trust", "staff"]
      const peer = yield* startPeer(first.url, { model: modelPath(model), args: labels })
      const there = yield* ask(first.url, { "x-weft-region": "eu-west" })
      expect([there.status, there.headers.get("x-weft-served-by"), there.headers.get("x-weft-route")]).toEqual([
        200,
        peer.id,
        "mesh:solo"
      ])
      const elsewhere = yield* ask(first.url, { "x-weft-region": "us" })
      expect([elsewhere.status, elsewhere.text]).toEqual([503, expect.stringContaining("region 'us'")])
      const claimed = yield* ask(first.url, { "x-weft-trust": "staff" })
      expect([claimed.status, claimed.text]).toEqual([503, expect.stringContaining("trust 'staff'")])
      // The same identity at an entry that knows it.
      const vouching = yield* startEntry({ WEFT_TRUST: `staff=${peer.id}` })
      yield* peer.process.kill("SIGKILL")
      const again = yield* startPeer(vouching.url, {
        model: modelPath(model),
        args: labels,
        dataDirectory: peer.dataDirectory
      })
      expect(again.id).toBe(peer.id)
      expect((yield* ask(vouching.url, { "x-weft-trust": "staff" })).status).toBe(200)
    }),
  60_000
)

it.live("a label that is none is wrong usage of the peer and of the entry", () =>
  Effect.gen(function* () {
    const up = ["run", "apps/peer/src/main.ts", "up", "--entry", "http://127.0.0.1:1", "--model", modelPath(model)]
    const { code, stderr } = yield* run([...up, "--region", "EU West"])
    expect([code, stderr]).toEqual([2, expect.stringContaining("eu-west")])
    const entry = yield* run(["run", "apps/entry/src/main.ts"], { WEFT_TRUST: "staff" })
    expect([entry.code === 0, entry.stderr]).toEqual([false, expect.stringContaining("label=PEERID")])
  })
)
