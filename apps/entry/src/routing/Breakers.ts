/**
 * The breakers of the peers that failed lately. Nearly all did not, and of those nothing is remembered: for them every
 * step but a failure leaves a breaker as it is.
 */
import type { PeerId } from "@weft/mesh/PeerId"
import * as Breaker from "../Breaker.ts"
import { peerRules } from "./PeerRules.ts"

/** Most peers whose failures are remembered; those that changed longest ago are forgotten first. */
const breakersMax = 10_000

/** Represents the breakers of one router, each step as in `Breaker.ts`. */
export class Breakers {
  readonly #known = new Map<PeerId, Breaker.Breaker>()

  /** Returns whether a request may be sent to a peer now. */
  passes(peer: PeerId, nowMs: number): boolean {
    const breaker = this.#known.get(peer)
    return breaker === undefined || Breaker.passes(breaker, peerRules, nowMs)
  }

  /** Returns how many peers are kept from requests now. */
  openCount(nowMs: number): number {
    let open = 0
    for (const breaker of this.#known.values()) if (!Breaker.passes(breaker, peerRules, nowMs)) open++
    return open
  }

  sent(peer: PeerId, nowMs: number): void {
    const before = this.#known.get(peer)
    if (before !== undefined) this.#change(peer, before, Breaker.sent(before, peerRules, nowMs))
  }

  begun(peer: PeerId, sentMs: number): void {
    const before = this.#known.get(peer)
    if (before !== undefined) this.#change(peer, before, Breaker.begun(before, peerRules, sentMs))
  }

  /** An answer without text has begun too. */
  answered(peer: PeerId, sentMs: number): void {
    const before = this.#known.get(peer)
    if (before === undefined) return
    const begun = Breaker.begun(before, peerRules, sentMs)
    this.#change(peer, before, Breaker.answered(begun, peerRules, sentMs))
  }

  failed(peer: PeerId, sentMs: number, nowMs: number): void {
    const before = this.#known.get(peer) ?? Breaker.closed
    this.#change(peer, before, Breaker.failed(before, peerRules, sentMs, nowMs))
  }

  takenBack(peer: PeerId, sentMs: number, nowMs: number): void {
    const before = this.#known.get(peer)
    if (before !== undefined) this.#change(peer, before, Breaker.takenBack(before, sentMs, nowMs))
  }

  #change(peer: PeerId, before: Breaker.Breaker, after: Breaker.Breaker): void {
    if (after === before) return
    this.#known.delete(peer)
    if (after !== Breaker.closed) this.#known.set(peer, after)
    if (this.#known.size <= breakersMax) return
    for (const longestAgo of this.#known.keys()) {
      this.#known.delete(longestAgo)
      return
    }
  }
}
