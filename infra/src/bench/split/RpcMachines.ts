/**
 * A model over several machines by llama.cpp's RPC: its own benchmark computes the first layers, and servers behind a
 * delaying proxy each compute the rest, all with one thread. The servers stay; the model is sent to them for each run.
 */
import { Effect, Exit, Scope } from "effect"
import * as TcpProxy from "../../wan/TcpProxy.ts"
import * as Programs from "../Programs.ts"
import type { LlamaCpp } from "./LlamaCpp.ts"

/** Represents what is measured. */
export interface RpcOptions {
  readonly llamaCpp: LlamaCpp
  readonly model: string
  readonly layers: number
  /** The one that asks included. */
  readonly machines: number
  /** Between the one that asks and each of the others. */
  readonly rttMs: number
}

/** Represents servers that wait. */
export interface RpcMachines {
  /** Returns tokens per second of one answer of so many tokens, behind one token to warm up. */
  readonly perSecond: (tokens: number) => Promise<number>
  readonly stop: () => Promise<void>
}

/** Longest start of a server: it has nothing to load. */
const startMsMax = 10_000
const lookMs = 20

/** Starts the servers and waits until they listen. */
export const start = async (options: RpcOptions): Promise<RpcMachines> => {
  const { layers, llamaCpp, machines, model, rttMs } = options
  const scope = Effect.runSync(Scope.make())
  const servers = await Promise.all(Array.from({ length: machines - 1 }, () => startServer(llamaCpp)))
  const ports = servers.map(async ({ port }) => {
    if (rttMs === 0) return port
    const proxying = TcpProxy.make({ to: { hostname: "127.0.0.1", port }, delayMs: rttMs / 2 })
    return (await Effect.runPromise(Scope.extend(proxying, scope))).port
  })
  const addresses = (await Promise.all(ports)).map((port) => `127.0.0.1:${port}`).join(",")
  return {
    perSecond: async (tokens) => {
      const split = ["-ngl", String(remoteLayers(layers, machines)), "--rpc", addresses]
      const asked = ["-m", model, "-t", "1", "-p", "0", "-n", String(tokens), "-r", "1", "-o", "json"]
      // The program's own output: one object for its one test.
      const [test] = JSON.parse(await Programs.run([llamaCpp.bench, ...asked, ...split])) as ReadonlyArray<{
        readonly avg_ts: number
      }>
      return test?.avg_ts ?? Number.NaN
    },
    stop: async () => {
      await Effect.runPromise(Scope.close(scope, Exit.void))
      await Promise.all(servers.map(({ command }) => command.stop()))
    }
  }
}

/**
 * Returns how many layers the servers get, so that all machines have as many: llama.cpp counts the head as one more,
 * and gives it away with the rest.
 */
export const remoteLayers = (layers: number, machines: number): number => layers - Math.round(layers / machines) + 1

// internal

const startServer = async ({
  server
}: LlamaCpp): Promise<{ readonly command: Programs.Command; readonly port: number }> => {
  const port = freePort()
  const command = Programs.startCommand([server, "-H", "127.0.0.1", "-p", String(port), "-t", "1"])
  const ended = command.exited.then((code) => {
    throw new Error(`${server} ended with ${code} instead of listening on port ${port}`)
  })
  // Who waits below hears of it; afterwards a server may end.
  ended.catch(() => {})
  await Promise.race([listening(port), ended])
  return { command, port }
}

/** Waits until somebody listens: a server thinks nothing of a client that goes at once. */
const listening = async (port: number): Promise<void> => {
  const deadlineMs = performance.now() + startMsMax
  for (;;) {
    const socket = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data: () => {} } }).catch(() => undefined)
    socket?.end()
    if (socket !== undefined) return
    if (performance.now() > deadlineMs) throw new Error(`nobody listens on port ${port}`)
    await Bun.sleep(lookMs)
  }
}

/** Returns a TCP port that nobody has now. */
const freePort = (): number => {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } })
  listener.stop(true)
  return listener.port
}
