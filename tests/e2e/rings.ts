/**
 * A model split among real peers over real QUIC, each with the layers that a test gives it and behind a line of its
 * own, and the same questions asked of them and of one peer that has the whole model.
 */
import { freePort } from "@weft/infra/wan/FreePort"
import type * as Impairment from "@weft/infra/wan/Impairment"
import * as UdpProxy from "@weft/infra/wan/UdpProxy"
import { type Duration, Effect, Schedule } from "effect"
import OpenAI from "openai"
import { type Program, startEntry, startPeer } from "../support/processes.ts"

const model = "tiny-small-f16"

/** Represents a peer of a ring. */
export interface RingPeer extends Program {
  readonly id: string
  readonly statusUrl: string
  /** Datagrams that its line lost so far. */
  readonly lost: Effect.Effect<number>
}

/** Represents what the entry shows of a group. */
export interface ShownGroup {
  readonly state: string
  readonly epoch: number
  readonly stages: ReadonlyArray<{ readonly peer: string; readonly from: number; readonly to: number }>
  readonly spares: ReadonlyArray<{ readonly peer: string; readonly state?: string }>
}

/** Represents a ring that serves. */
export interface Ring {
  readonly url: string
  readonly group: Effect.Effect<ShownGroup | null | undefined>
  /** The peers of the stages as it began, in their order. */
  readonly stages: ReadonlyArray<RingPeer>
}

/** What a peer's page says of its children, and of the splits that it hosts. */
interface Status {
  readonly models: ReadonlyArray<{ readonly processId?: number }>
  readonly leases: ReadonlyArray<{ readonly processId?: number }>
  readonly groups: ReadonlyArray<{ readonly stats?: { readonly lookup: { readonly accepted: number } } }>
}

const json = <A>(url: string) => Effect.promise(async () => (await (await fetch(url)).json()) as A)

/** Looks every 50 ms until `holds`, for at most `within`. */
export const until = <A, E>(
  look: Effect.Effect<A, E>,
  holds: (value: A) => boolean,
  within: Duration.DurationInput = "60 seconds"
) =>
  look.pipe(
    Effect.filterOrFail(holds, (value) => new Error(`still ${JSON.stringify(value)}`)),
    Effect.retry(Schedule.spaced("50 millis")),
    Effect.timeout(within)
  )

/** Starts an entry and a peer for each range of layers, each behind a line where there is one, when they serve. */
export const ring = Effect.fnUntraced(function* (ranges: ReadonlyArray<string>, line?: Partial<Impairment.Impairment>) {
  const entry = yield* startEntry({ WEFT_FORCE_SPLIT: "1" })
  const start = Effect.fnUntraced(function* (layers: string, index: number) {
    const port = yield* freePort
    const to = { hostname: "127.0.0.1", port }
    const proxy = line === undefined ? undefined : yield* UdpProxy.make({ to, ...line, seed: index })
    const lost =
      proxy === undefined ? Effect.succeed(0) : Effect.map(proxy.counts, ({ down, up }) => down.lost + up.lost)
    const address = `127.0.0.1:${proxy?.port ?? port}`
    const place = ["--port", String(port), "--address", address, "--split", "--layers", layers]
    const peer = yield* startPeer(entry.url, { args: [...place, "--context", "512", "--threads", "1"] })
    const { url } = yield* peer.event("listening")
    return { ...peer, statusUrl: String(url), lost } satisfies RingPeer
  })
  const peers = yield* Effect.forEach(ranges, start, { concurrency: ranges.length })
  const group = Effect.map(
    json<{ readonly data: ReadonlyArray<{ readonly group: ShownGroup | null }> }>(`${entry.url}/api/splits`),
    ({ data }) => data[0]?.group
  )
  const serving = yield* until(group, (shown) => shown?.state === "serving")
  // The host registers again when its group serves.
  yield* until(
    json<{ readonly data: ReadonlyArray<unknown> }>(`${entry.url}/v1/models`),
    ({ data }) => data.length === 1
  )
  const stages = (serving?.stages ?? []).flatMap(({ peer }) => peers.filter(({ id }) => id === peer))
  return { url: entry.url, group, stages } satisfies Ring
})

/** Returns the process ids of a peer's engine hosts. */
export const childrenOf = (peer: RingPeer): Effect.Effect<ReadonlyArray<number>> =>
  Effect.map(json<Status>(`${peer.statusUrl}/status`), ({ leases, models }) =>
    [...leases, ...models].flatMap(({ processId }) => (processId === undefined ? [] : [processId]))
  )

/** Returns how many guesses of the ring's host were right. */
export const accepted = (stages: ReadonlyArray<RingPeer>): Effect.Effect<number> =>
  Effect.map(
    Effect.forEach(stages, ({ statusUrl }) => json<Status>(`${statusUrl}/status`)),
    (statuses) =>
      statuses.flatMap(({ groups }) => groups).reduce((sum, { stats }) => sum + (stats?.lookup.accepted ?? 0), 0)
  )

/** Returns the sum of a metric over its labels; dies where there is none of that name. */
export const metric = (url: string, name: string): Effect.Effect<number> =>
  Effect.gen(function* () {
    const text = yield* Effect.promise(async () => (await fetch(`${url}/metrics`)).text())
    if (!text.includes(`# TYPE ${name} `)) return yield* Effect.dieMessage(`no metric ${name}`)
    const lines = text.split("\n").filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0)
  })

/** A question; what it does not say is greedy. */
interface Question {
  readonly content: string
  readonly sampling?: Readonly<Record<string, unknown>>
}

/** Represents what came of a question. */
export interface Answered {
  readonly text: string
  readonly finished: string | null | undefined
  readonly tokens: number | undefined
}

/** Two greedy answers and two drawn ones. */
const questions: ReadonlyArray<Question> = [
  { content: "Tell me a story about a fox." },
  { content: "Repeat: one two three one two three one two three" },
  { content: "What is an audit?", sampling: { temperature: 0.8, top_p: 0.9, seed: 42, frequency_penalty: 0.5 } },
  { content: "Count from 3 to 9.", sampling: { temperature: 1.2, seed: 7 } }
]

/** Ends answers of the bundled model; without it they run to their last token. */
const endToken = 2

/** Returns what a mesh answers in so many tokens; `onText` is called with all that is there, at each piece. */
const answer = (
  url: string,
  { content, sampling }: Question,
  tokens: number,
  onText: (text: string) => void
): Effect.Effect<Answered> =>
  Effect.promise(async () => {
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0 })
    const stream = await client.chat.completions.create({
      model,
      messages: [{ role: "user", content }],
      temperature: 0,
      max_tokens: tokens,
      logit_bias: { [endToken]: -100 },
      stream: true,
      stream_options: { include_usage: true },
      ...sampling
    })
    let answered: Answered = { text: "", finished: undefined, tokens: undefined }
    for await (const { choices, usage } of stream) {
      answered = {
        text: answered.text + (choices[0]?.delta.content ?? ""),
        finished: choices[0]?.finish_reason ?? answered.finished,
        tokens: usage?.completion_tokens ?? answered.tokens
      }
      onText(answered.text)
    }
    return answered
  })

/** Returns what a mesh answers to all questions at once; `onTexts` is told what is there, at each piece of any. */
export const together = (
  url: string,
  tokens: number,
  onTexts: (texts: ReadonlyArray<string>) => void = () => {}
): Effect.Effect<ReadonlyArray<Answered>> => {
  const texts = questions.map(() => "")
  const one = (question: Question, index: number) =>
    answer(url, question, tokens, (text) => {
      texts[index] = text
      onTexts(texts)
    })
  return Effect.forEach(questions, one, { concurrency: questions.length })
}

/** Returns what one peer with the whole model answers, one question after the other; it is gone afterwards. */
export const wholly = (tokens: number): Effect.Effect<ReadonlyArray<Answered>> =>
  Effect.scoped(
    Effect.gen(function* () {
      const entry = yield* startEntry()
      yield* startPeer(entry.url, { args: ["--profile", "exact", "--context", "512", "--threads", "1"] })
      return yield* Effect.forEach(questions, (question) => answer(entry.url, question, tokens, () => {}))
    })
  )
