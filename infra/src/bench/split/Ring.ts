/**
 * A model split among peers that are some way apart: an entry, and a peer for each stage behind a proxy of its own that
 * delays what other peers send to it. The entry itself is near all of them, as nothing of a token goes through it.
 */
import { createSocket } from "node:dgram"
import { UdpProxy } from "@weft/infra/wan/UdpProxy"
import { Effect, Exit, Scope } from "effect"
import * as Mesh from "../Mesh.ts"

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
  /** Peers beside the stages, which may take any of them over. */
  readonly spares: number
}

/** Represents a ring that serves. */
export interface Ring {
  readonly entry: Mesh.Entry
  readonly peers: ReadonlyArray<Mesh.Peer>
  /** Ids of the peers of the stages, in order. */
  readonly stages: () => Promise<ReadonlyArray<string>>
  readonly stop: () => Promise<void>
}

/** Longest way from the start of the peers to the first token: each hashes the file, cuts its layers and loads them. */
const readyMsMax = 120_000
const lookMs = 100

/** Starts a ring and waits until it serves. */
export const start = async (options: RingOptions): Promise<Ring> => {
  const { layers, rttMs, spares, stages } = options
  const entry = await Mesh.startEntry({ WEFT_FORCE_SPLIT: "1" })
  const scope = Effect.runSync(Scope.make())
  const starting = Array.from({ length: stages + spares }, async (_, index) => {
    const port = await freePort()
    const proxying = UdpProxy.make({ to: { hostname: "127.0.0.1", port }, delayMs: rttMs / 2, seed: index })
    const proxy = await Effect.runPromise(Scope.extend(proxying, scope))
    const from = Math.round((index * layers) / stages)
    const to = Math.round(((index + 1) * layers) / stages)
    const { contextTokens, model, slots, speculates } = options
    return Mesh.startPeer({
      url: entry.url,
      model,
      slots,
      contextTokens,
      threads: 1,
      more: [
        ...["--port", String(port), "--address", `127.0.0.1:${proxy.port}`, "--split"],
        ...(index < stages ? ["--layers", `${from}-${to}`] : []),
        ...(speculates ? [] : ["--no-speculation"])
      ]
    })
  })
  const peers = await Promise.all(starting)
  const stop = async (): Promise<void> => {
    for (const { program } of peers) program.signal("SIGKILL")
    entry.program.signal("SIGKILL")
    await Promise.all([...peers.map(({ program }) => program.exited), entry.program.exited])
    await Effect.runPromise(Scope.close(scope, Exit.void))
  }
  const serving = () => stagesOf(entry)
  const deadlineMs = performance.now() + readyMsMax
  while ((await serving()).length < stages) {
    if (performance.now() > deadlineMs) throw new Error(`the split does not serve: ${await splitsOf(entry)}`)
    await Bun.sleep(lookMs)
  }
  return { entry, peers, stages: serving, stop }
}

// internal

const stagesOf = async ({ url }: Mesh.Entry): Promise<ReadonlyArray<string>> => {
  // The page is checked by its own tests.
  const { data } = (await (await fetch(`${url}/v1/models`)).json()) as {
    readonly data: ReadonlyArray<{ readonly meta: { readonly stages?: ReadonlyArray<{ readonly peer: string }> } }>
  }
  return data[0]?.meta.stages?.map(({ peer }) => peer) ?? []
}

const splitsOf = async ({ url }: Mesh.Entry): Promise<string> => (await fetch(`${url}/api/splits`)).text()

/** Returns a UDP port that nobody has now. */
const freePort = (): Promise<number> => {
  const { promise, resolve } = Promise.withResolvers<number>()
  const socket = createSocket("udp4")
  socket.bind(0, "127.0.0.1", () => {
    const { port } = socket.address()
    socket.close(() => resolve(port))
  })
  return promise
}
