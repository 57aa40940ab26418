/** The process that sends the requests of the gateway's benchmark, so that its work is not counted as the entry's. */
import * as HttpConnections from "../http/HttpConnections.ts"
import { serve } from "../Programs.ts"
import { requestBody, requestPath } from "./Answer.ts"

/** Represents one thing to measure. */
export type GatewayQuestion =
  /** One request; its whole response. */
  | { readonly kind: "once"; readonly url: string; readonly key: string }
  /** `count` requests to each of the addresses, `perSecond` to the one whose turn it is, whatever they take. */
  | {
      readonly kind: "open"
      readonly urls: ReadonlyArray<string>
      readonly key: string
      readonly perSecond: number
      readonly count: number
    }
  /** As many as `connections` connections get through in `seconds`. */
  | {
      readonly kind: "closed"
      readonly url: string
      readonly key: string
      readonly connections: number
      readonly seconds: number
    }

/** Represents what was measured; times in milliseconds, those of each address in their order, so that they pair. */
export interface GatewayReply {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly statuses: Readonly<Record<string, number>>
  readonly timesMs: ReadonlyArray<ReadonlyArray<number>>
  readonly perSecond: number
}

const nothing: GatewayReply = {
  headers: {},
  body: "",
  statuses: {},
  timesMs: [],
  perSecond: 0
}

serve((question: GatewayQuestion): Promise<GatewayReply> => {
  switch (question.kind) {
    case "once":
      return once(question)
    case "open":
      return open(question)
    case "closed":
      return closed(question)
  }
})

// internal

type Of<Kind extends GatewayQuestion["kind"]> = Extract<GatewayQuestion, { readonly kind: Kind }>

interface Timed {
  readonly status: number
  readonly ms: number
}

const request = (key: string) => ({
  path: requestPath,
  headers: { authorization: `Bearer ${key}` },
  body: requestBody
})

const timed = async (connections: HttpConnections.HttpConnections, key: string): Promise<Timed> => {
  const startedMs = performance.now()
  const { status, whole } = await connections.post({ ...request(key), onBody: () => {} }).end
  return { status: whole ? status : 0, ms: performance.now() - startedMs }
}

async function once({ key, url }: Of<"once">): Promise<GatewayReply> {
  let body = ""
  const onBody = (piece: Buffer): void => {
    body += piece.toString()
  }
  const { end } = HttpConnections.make(url).post({ ...request(key), onBody })
  const { headers, status } = await end
  return { ...nothing, headers, body, statuses: { [status]: 1 } }
}

/**
 * Requests to one address before it is another's turn: a quarter of a second at 100 a second. Short, so that a machine
 * that slows down slows all of them; long enough that each finds the processor's caches as a server does to which all
 * requests of the machine go, and not as the others leave them.
 */
const turnRequests = 25

/** Timers come up to a millisecond late, which moves a request and not what is measured of it. */
const until = (atMs: number): Promise<void> => Bun.sleep(Math.max(0, atMs - performance.now()))

async function open({ count, key, perSecond, urls }: Of<"open">): Promise<GatewayReply> {
  const asked = urls.map((url) => ({ connections: HttpConnections.make(url), replies: [] as Array<Promise<Timed>> }))
  const everyMs = 1000 / perSecond
  let atMs = performance.now()
  for (let from = 0; from < count; from += turnRequests) {
    for (const { connections, replies } of asked) {
      for (let request = from; request < Math.min(from + turnRequests, count); request++) {
        atMs += everyMs
        await until(atMs)
        replies.push(timed(connections, key))
      }
    }
  }
  const measured = await Promise.all(asked.map(({ replies }) => Promise.all(replies)))
  return {
    ...nothing,
    statuses: countOf(measured.flat()),
    timesMs: measured.map((replies) => replies.map(({ ms }) => ms))
  }
}

async function closed({ connections, key, seconds, url }: Of<"closed">): Promise<GatewayReply> {
  const entry = HttpConnections.make(url)
  const startedMs = performance.now()
  const measured: Array<Timed> = []
  await Promise.all(
    Array.from({ length: connections }, async () => {
      while (performance.now() - startedMs < seconds * 1000) measured.push(await timed(entry, key))
    })
  )
  const good = measured.filter(({ status }) => status === 200)
  return {
    ...nothing,
    statuses: countOf(measured),
    timesMs: [good.map(({ ms }) => ms)],
    perSecond: good.length / ((performance.now() - startedMs) / 1000)
  }
}

const countOf = (measured: ReadonlyArray<Timed>): Readonly<Record<string, number>> => {
  const counts: Record<string, number> = {}
  for (const { status } of measured) counts[status] = (counts[status] ?? 0) + 1
  return counts
}
