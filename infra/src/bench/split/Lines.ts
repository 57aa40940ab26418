/**
 * The lines of a ring: a proxy in front of each peer, which makes the way of other peers to it as far and as bad as was
 * asked for. Owned by the ring, in whose scope the proxies run.
 */
import { Effect, Scope } from "effect"
import * as UdpProxy from "../../wan/UdpProxy.ts"
import type { Trouble } from "./Trouble.ts"

/** Represents what became of datagrams between peers, both ways. */
export interface Datagrams {
  readonly forwarded: number
  readonly lost: number
  /** Dropped as a line's queue was full. */
  readonly overflowed: number
}

/** Represents the lines of a ring. */
export interface Lines {
  /** Puts a line in front of a port of this machine; returns the port to send to instead. */
  readonly inFrontOf: (port: number) => Promise<number>
  readonly datagrams: () => Promise<Datagrams>
}

/** Nothing was sent. */
export const noDatagrams: Datagrams = { forwarded: 0, lost: 0, overflowed: 0 }

/** Returns the sum of two counts. */
export const sum = (one: Datagrams, other: Datagrams): Datagrams => ({
  forwarded: one.forwarded + other.forwarded,
  lost: one.lost + other.lost,
  overflowed: one.overflowed + other.overflowed
})

/** Returns lines between peers `rttMs` apart; each has a seed of its own, the same in every run. */
export const make = (rttMs: number, line: Trouble["line"], scope: Scope.Scope): Lines => {
  const proxies: Array<UdpProxy.UdpProxy> = []
  let seed = 0
  return {
    inFrontOf: async (port) => {
      // A proxy takes time of its own, so none stands in a way that nothing is wrong with.
      if (rttMs === 0 && line === undefined) return port
      const proxying = UdpProxy.make({ to: { hostname: "127.0.0.1", port }, delayMs: rttMs / 2, seed: ++seed, ...line })
      const proxy = await Effect.runPromise(Scope.extend(proxying, scope))
      proxies.push(proxy)
      return proxy.port
    },
    datagrams: async () => {
      const counts = await Effect.runPromise(Effect.all(proxies.map((proxy) => proxy.counts)))
      return counts.flatMap(({ down, up }) => [down, up]).reduce<Datagrams>(sum, noDatagrams)
    }
  }
}
