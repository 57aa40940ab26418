/** A model that fits none of three real peers: they serve it together, token for token as one would. */
import { expect } from "bun:test"
import { Deferred, Effect, Fiber } from "effect"
import OpenAI from "openai"
import { it } from "../support/effect.ts"
import { run, startEntry, startPeer } from "../support/processes.ts"
import { until } from "./rings.ts"

const model = "tiny-small-f16"
/** Room for five or six of the model's eight layers, and not for all of it. */
const lent = ["--max-memory", "9MB", "--context", "512", "--slots", "2"]
const questions = ["What is 7 plus 5?", "Count from 3 to 9.", "What is the capital of France?", "What is an audit?"]

const client = (url: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0 })

const answer = (url: string, content: string, more: object = {}) =>
  Effect.promise(async () => {
    const messages = [{ role: "user" as const, content }]
    const { choices } = await client(url).chat.completions.create({ model, messages, temperature: 0, ...more })
    return choices[0]?.message.content ?? ""
  })

interface Split {
  readonly group: null | {
    readonly state: string
    readonly epoch: number
    readonly stages: ReadonlyArray<{ readonly peer: string; readonly from: number; readonly to: number }>
    readonly spares: ReadonlyArray<{ readonly peer: string; readonly state?: string }>
  }
  readonly peers: ReadonlyArray<{ readonly peer: string; readonly verdict: string; readonly why: string }>
}

const json = <A>(url: string) => Effect.promise(async () => (await (await fetch(url)).json()) as A)
const split = (url: string) =>
  Effect.map(json<{ readonly data: ReadonlyArray<Split> }>(`${url}/api/splits`), ({ data }) => data[0])
const stagesShown = (url: string) =>
  Effect.map(
    json<{ readonly data: ReadonlyArray<{ readonly meta: { readonly stages?: ReadonlyArray<unknown> } }> }>(
      `${url}/v1/models`
    ),
    ({ data }) => data[0]?.meta.stages
  )

/** An entry and `count` peers that lend layers, when the model is served. */
const ring = Effect.fnUntraced(function* (count: number, environment: Record<string, string> = {}) {
  const entry = yield* startEntry(environment)
  const peers = yield* Effect.all(
    Array.from({ length: count }, () => startPeer(entry.url, { args: lent })),
    { concurrency: count }
  )
  const serving = yield* until(split(entry.url), (shown) => shown?.group?.state === "serving")
  // The host registers again when its group serves.
  yield* until(stagesShown(entry.url), (stages) => stages !== undefined)
  if (serving?.group == null) return yield* Effect.dieMessage("no group")
  return { entry, peers, group: serving.group }
})

it.live(
  "three peers of which none could hold the model answer as one that can, and show who computes what",
  () =>
    Effect.gen(function* () {
      const { entry, group, peers } = yield* ring(3)
      expect(group.stages.map(({ from, to }) => [from, to])).toEqual([
        [0, expect.any(Number)],
        [group.stages[0]?.to, 8]
      ])
      expect(yield* stagesShown(entry.url)).toEqual(group.stages.map(({ from, peer, to }) => ({ peer, from, to })))
      const explained = yield* until(split(entry.url), (shown) => shown?.peers.length === 3)
      expect(explained?.peers.map(({ verdict }) => verdict).toSorted()).toEqual(["spare", "stage", "stage"])

      const whole = yield* startEntry()
      const solo = yield* startPeer(whole.url, { args: ["--profile", "exact"] })
      const sampled = { temperature: 0.8, top_p: 0.9, seed: 42, frequency_penalty: 0.5 }
      for (const more of [{}, sampled]) {
        const expected = yield* Effect.forEach(questions, (question) => answer(whole.url, question, more))
        const together = yield* Effect.forEach(questions, (question) => answer(entry.url, question, more), {
          concurrency: questions.length
        })
        expect(together).toEqual(expected)
      }
      expect(yield* answer(entry.url, "What is 7 plus 5?")).toBe("7 plus 5 is 12.")

      const tail = peers.find(({ id }) => id === group.stages[1]?.peer)
      const status = yield* run(["run", "apps/peer/src/main.ts", "status", "--json"], {
        WEFT_DATA_DIR: tail?.dataDirectory ?? ""
      })
      const { leases } = JSON.parse(status.stdout)
      expect(leases).toMatchObject([{ model, from: group.stages[1]?.from, to: 8, state: "ready", jobs: 0 }])
      expect(leases[0].msPerLayer).toBeGreaterThan(0)
      yield* solo.process.kill("SIGTERM")
    }),
  120_000
)

it.live(
  "when the peer of a stage is killed the answer goes on where it was, through the spare",
  () =>
    Effect.gen(function* () {
      const { entry, group, peers } = yield* ring(3)
      const endless = { max_tokens: 300, logit_bias: { 2: -100 } }
      const story = "Tell me a story about a fox."
      const expected = yield* answer(entry.url, story, endless)

      const begun = yield* Deferred.make<void>()
      const streaming = yield* Effect.fork(
        Effect.promise(async () => {
          const messages = [{ role: "user" as const, content: story }]
          const asked = { model, messages, temperature: 0, stream: true as const, ...endless }
          let text = ""
          for await (const chunk of await client(entry.url).chat.completions.create(asked)) {
            text += chunk.choices[0]?.delta.content ?? ""
            if (text.length > 40) Deferred.unsafeDone(begun, Effect.void)
          }
          return text
        })
      )
      yield* Deferred.await(begun)
      const tail = peers.find(({ id }) => id === group.stages[1]?.peer)
      yield* Effect.ignore(tail?.process.kill("SIGKILL") ?? Effect.void)
      expect(yield* Fiber.join(streaming)).toBe(expected)
      const healed = yield* until(split(entry.url), (shown) => (shown?.group?.epoch ?? 0) > group.epoch)
      expect(healed?.group?.stages.map(({ peer }) => peer)).not.toContain(tail?.id)
    }),
  120_000
)

it.live(
  "a split that rounds refuses exact answers, with what to do, until a peer has the whole model",
  () =>
    Effect.gen(function* () {
      const { entry } = yield* ring(2, { WEFT_SPLIT_ACTIVATIONS: "llama:q8" })
      const exactly = Effect.promise(async () => {
        const body = JSON.stringify({
          model,
          messages: [{ role: "user", content: "What is 7 plus 5?" }],
          temperature: 0
        })
        const headers = { "content-type": "application/json", "x-weft-profile": "exact" }
        const response = await fetch(`${entry.url}/v1/chat/completions`, { method: "POST", headers, body })
        return { status: response.status, text: await response.text() }
      })
      expect(yield* answer(entry.url, "What is 7 plus 5?")).not.toBe("")
      const refused = yield* exactly
      expect(refused.status).toBe(400)
      expect(JSON.parse(refused.text)).toMatchObject({
        error: { code: "profile_unavailable", param: "x-weft-profile", message: expect.stringContaining("header") }
      })
      yield* startPeer(entry.url)
      const answered = yield* exactly
      expect(answered.status).toBe(200)
      expect(answered.text).toContain("7 plus 5 is 12.")
    }),
  120_000
)

it.live(
  "a split is shown only while it serves: not with one peer, and no more when its host is gone",
  () =>
    Effect.gen(function* () {
      const entry = yield* startEntry()
      yield* startPeer(entry.url, { args: lent })
      const alone = yield* until(split(entry.url), (shown) => shown !== undefined)
      expect(alone?.group).toBeNull()
      expect(alone?.peers.map(({ verdict }) => verdict)).toEqual(["noChain"])
      expect(yield* stagesShown(entry.url)).toBeUndefined()
      yield* startPeer(entry.url, { args: lent })
      const serving = yield* until(split(entry.url), (shown) => shown?.group?.state === "serving")
      expect(serving?.group?.stages).toHaveLength(2)
      const whole = yield* startPeer(entry.url)
      yield* until(split(entry.url), (shown) => shown?.group === null)
      expect(yield* stagesShown(entry.url)).toBeUndefined()
      expect(yield* answer(entry.url, "What is 7 plus 5?")).toBe("7 plus 5 is 12.")
      yield* Effect.ignore(whole.process.kill("SIGTERM"))
    }),
  120_000
)
