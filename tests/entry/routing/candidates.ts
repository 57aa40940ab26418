/** Candidates for tests of policies: a peer is by default idle, near and of unknown pace. */
import * as Pace from "@weft/entry/routing/Pace"
import type { Ask, Candidate } from "@weft/entry/routing/Policy"
import { peerId } from "../../mesh/peers.ts"

/** Returns a candidate; `cached` are the first blocks of every prompt that it was sent. */
export const candidate = (
  number: number,
  changes: Partial<Candidate> & { readonly cached?: number } = {}
): Candidate => ({
  peer: peerId(number),
  mode: "solo",
  slots: 4,
  inFlight: 0,
  elsewhere: 0,
  rttMs: 1,
  lastChosenMs: 0,
  pace: Pace.unknown,
  aheadTokens: 0,
  waitsSinceMs: undefined,
  computes: undefined,
  covered: (blocks) => Math.min(blocks.length, changes.cached ?? 0),
  ...changes
})

/** Returns a question of so many tokens, a block of it for each 64. */
export const asked = (tokens: number, lastPeer?: number): Ask => ({
  prompt: {
    blocks: Array.from({ length: Math.floor(tokens / 64) }, (_, block) => block + 1),
    tokens,
    conversation: undefined
  },
  lastPeer: lastPeer === undefined ? undefined : peerId(lastPeer)
})

/** Returns the pace of a peer that was measured at 0 and takes so long. */
export const paceOf = (msPerToken: number, fixedMs = 0, holdMs = 1_000): Pace.Pace => ({
  ...Pace.learn(Pace.unknown, { ttftMs: msPerToken * 1_000, computedTokens: 1_000 }, 0),
  fixedMs,
  holdMs
})
