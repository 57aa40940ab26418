/**
 * A model split among peers that are some way apart: an entry, and peers behind a proxy each, which delays what other
 * peers send to it. The entry itself is near all of them, as nothing of a token goes through it.
 */
import { Effect, Exit, Scope } from "effect"
import * as Throttle from "../../throttle/Throttle.ts"
import { freePort } from "../../wan/FreePort.ts"
import * as Mesh from "../Mesh.ts"
import * as Lines from "./Lines.ts"
import type { Trouble } from "./Trouble.ts"

/** Represents what a ring is made of. */
export interface RingOptions {
  readonly model: string
  readonly layers: number
  readonly stages: number
  /** Between any two peers. */
  readonly rttMs: number
  readonly slots: number
  readonly contextTokens: number
  readonly speculates: boolean
  /** Peers beside the stages, which may take any of them over; without them each peer lends the layers of one stage. */
  readonly spares: number
  /** What is wrong beside the distance; nothing where absent. */
  readonly trouble?: Trouble
}

/** Represents a ring that serves. */
export interface Ring {
  readonly entry: Mesh.Entry
  readonly peers: () => ReadonlyArray<Mesh.Peer>
  /** Ids of the peers of the stages, in order. */
  readonly stages: () => Promise<ReadonlyArray<string>>
  /** Starts a new peer in the place of one that was killed. */
  readonly replace: (peer: Mesh.Peer) => Promise<void>
  /** What the lines of its peers did so far; nothing where there are none. */
  readonly datagrams: Lines.Lines["datagrams"]
  readonly stop: () => Promise<void>
}

/** Represents what the entry shows of a split. */
export interface ShownSplit {
  readonly state: string
  readonly stages: ReadonlyArray<{ readonly peer: string }>
  readonly spares: ReadonlyArray<{ readonly peer: string; readonly state?: string }>
}

/** Longest way from the start of the peers to the first token: each hashes the file, cuts its layers and loads them. */
const readyMsMax = 120_000
const lookMs = 100
/** Every ring is held up in the same way. */
const throttleSeed = 1

/** Starts a ring and waits until it serves. */
export const start = async (options: RingOptions): Promise<Ring> => {
  const { layers, rttMs, spares, stages, trouble = {} } = options
  const entry = await Mesh.startEntry({ WEFT_FORCE_SPLIT: "1" })
  const scope = Effect.runSync(Scope.make())
  const lines = Lines.make(rttMs, trouble.line, scope)
  const lent = (index: number): ReadonlyArray<string> => {
    const bound = (stage: number): number => Math.round((stage * layers) / stages)
    return spares > 0 ? [] : ["--layers", `${bound(index)}-${bound(index + 1)}`]
  }
  const places = Array.from({ length: stages + spares }, (_, index) => startPeer(entry, options, lines, lent(index)))
  let peers: ReadonlyArray<Mesh.Peer> = await Promise.all(places)
  const stop = async (): Promise<void> => {
    await Effect.runPromise(Scope.close(scope, Exit.void))
    for (const { program } of peers) program.signal("SIGKILL")
    entry.program.signal("SIGKILL")
    await Promise.all([...peers.map(({ program }) => program.exited), entry.program.exited])
  }
  const ring: Ring = {
    entry,
    peers: () => peers,
    stages: async () => (await splitOf(ring))?.stages.map(({ peer }) => peer) ?? [],
    replace: async (killed) => {
      const peer = await startPeer(entry, options, lines, [])
      peers = [...peers.filter(({ id }) => id !== killed.id), peer]
    },
    datagrams: lines.datagrams,
    stop
  }
  const deadlineMs = performance.now() + readyMsMax
  while ((await splitOf(ring))?.state !== "serving" || !(await isServed(ring))) {
    if (performance.now() > deadlineMs) throw new Error(`the split does not serve: ${await splitsOf(ring)}`)
    await Bun.sleep(lookMs)
  }
  if (trouble.manner !== undefined) {
    const throttling = Throttle.make([await tailProcessId(ring)], trouble.manner, throttleSeed)
    await Effect.runPromise(Scope.extend(throttling, scope))
  }
  return ring
}

/** Returns what the entry shows of the ring's split; undefined while there is none. */
export const splitOf = async (ring: Pick<Ring, "entry">): Promise<ShownSplit | undefined> => {
  // The page is checked by its own tests.
  const { data } = JSON.parse(await splitsOf(ring)) as {
    readonly data: ReadonlyArray<{ readonly group: ShownSplit | null }>
  }
  return data[0]?.group ?? undefined
}

/** Represents what the stages of a ring computed for single rows so far. */
export interface Computed {
  /** One for each stage: rows, and milliseconds for all of them. */
  readonly stages: ReadonlyArray<{ readonly rows: number; readonly ms: number }>
}

/** Returns what the stages of a ring computed so far, as their peers counted it. */
export const computed = async (ring: Ring): Promise<Computed> => ({
  stages: await Promise.all(
    ring.peers().map(async ({ statusUrl }) => {
      const page = await (await fetch(`${statusUrl}/metrics`)).text()
      const seconds = valueOf(page, "weft_split_step_seconds_total")
      return { rows: valueOf(page, "weft_split_steps_total"), ms: seconds * 1000 }
    })
  )
})

/** Returns milliseconds that all stages together computed for a token between two looks, on average. */
export const computeMs = (before: Computed, after: Computed): number =>
  after.stages.reduce((sum, { ms, rows }, stage) => {
    const earlier = before.stages[stage] ?? { rows: 0, ms: 0 }
    return sum + (ms - earlier.ms) / (rows - earlier.rows)
  }, 0)

// internal

const splitsOf = async ({ entry }: Pick<Ring, "entry">): Promise<string> =>
  (await fetch(`${entry.url}/api/splits`)).text()

/** Tells whether the host has registered again with what it serves now. */
const isServed = async ({ entry }: Pick<Ring, "entry">): Promise<boolean> => {
  // The page is checked by its own tests.
  const { data } = (await (await fetch(`${entry.url}/v1/models`)).json()) as { readonly data: ReadonlyArray<unknown> }
  return data.length > 0
}

/** Returns the process that computes the last stage. */
const tailProcessId = async (ring: Ring): Promise<number> => {
  const tail = (await ring.stages()).at(-1)
  const peer = ring.peers().find(({ id }) => id === tail)
  const processId = peer === undefined ? undefined : (await Mesh.statusOf(peer)).leases[0]?.processId
  if (processId === undefined) throw new Error(`no process of a last stage: ${await splitsOf(ring)}`)
  return processId
}

const startPeer = async (
  entry: Mesh.Entry,
  { contextTokens, model, slots, speculates }: RingOptions,
  lines: Lines.Lines,
  lent: ReadonlyArray<string>
): Promise<Mesh.Peer> => {
  const port = await Effect.runPromise(freePort)
  const reached = await lines.inFrontOf(port)
  return Mesh.startPeer({
    url: entry.url,
    model,
    slots,
    contextTokens,
    threads: 1,
    more: [
      ...["--port", String(port), "--address", `127.0.0.1:${reached}`, "--split", ...lent],
      ...(speculates ? [] : ["--no-speculation"])
    ]
  })
}

/** Returns the value of a metric without labels; none where the page lacks it. */
const valueOf = (page: string, name: string): number =>
  Number(new RegExp(`^${name} (.*)$`, "m").exec(page)?.[1] ?? Number.NaN)
