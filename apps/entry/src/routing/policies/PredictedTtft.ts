/**
 * The peer that should give the first token soonest: what waits there, the part of the prompt it must compute, and the
 * way. Peers between whom no measurement can tell are the same, and then a conversation stays where it is, and else the
 * least busy takes it. Pure.
 */
import * as Pace from "../Pace.ts"
import {
  type Ask,
  type Candidate,
  type Choice,
  drawTwo,
  type Explanation,
  least,
  type Policy,
  type PolicyState,
  type Prediction,
  useOf
} from "../Policy.ts"
import { tokensPerBlock } from "../PromptBlocks.ts"
import { compareIdle } from "./LeastLoaded.ts"

/** Predicts the time to the first token of each candidate. */
export const predictedTtft: Policy = {
  name: "predicted-ttft",
  readsPrompts: true,
  choose: <C extends Candidate>(
    candidates: readonly [C, ...ReadonlyArray<C>],
    ask: Ask,
    { turn }: PolicyState,
    nowMs: number
  ): Choice<C> => {
    const typical = typicalOf(candidates, ask, nowMs)
    const told = (rule: Explanation["rule"], { candidate, prediction }: Estimate<C>): Choice<C> => ({
      candidate,
      explanation: { rule, candidates: candidates.length, prediction }
    })
    const [only, ...more] = candidates
    if (more.length === 0) return told("only", estimate(only, ask, typical, 0, nowMs))
    const load = candidates.reduce((sum, candidate) => sum + useOf(candidate), 0) / candidates.length
    const all = candidates.map((candidate) => estimate(candidate, ask, typical, load, nowMs))
    let bestMs = Number.POSITIVE_INFINITY
    let own: Estimate<C> | undefined
    for (const one of all) {
      bestMs = Math.min(bestMs, one.costMs)
      if (one.candidate.peer === ask.lastPeer) own = one
    }
    if (own !== undefined && own.costMs <= within(bestMs, conversationMargin)) return told("conversation", own)
    const sameMs = within(bestMs, sameMargin)
    const [first, ...others] = all.filter(({ costMs }) => costMs <= sameMs)
    if (first === undefined) throw new Error("the best is within any margin of itself")
    if (others.length === 0) return told("fastest", first)
    if (others.length === 1 || load < loadOfDraws) return told("idlest", least([first, ...others], compareBurden))
    const [one = first, other = first] = drawTwo([first, ...others], turn)
    return told("drawn", least([one, other], compareBurden))
  }
}

// internal

/** How far from the best a prediction may be and count as the same: as a share of it, and at least so much. */
interface Margin {
  readonly share: number
  readonly ms: number
}

/** What answers to the same prompt at the same peer differ by, and a step of the round trip. */
const sameMargin: Margin = { share: 0.2, ms: 25 }
/** A conversation moves where another peer is clearly better: what it says next begins with all that was said. */
const conversationMargin: Margin = { share: 0.5, ms: 125 }

const within = (bestMs: number, { ms, share }: Margin): number => bestMs + Math.max(ms, share * bestMs)

/** What a peer whose link is new is taken to be away. */
const rttMsAssumed = 100

/** Share of their slots in use, on average, from which on two are drawn: before, the idlest is idle. */
const loadOfDraws = 0.5

/** A prompt that is computed takes the time of others, and their cells too. */
const workWorth = 2

/** A peer that has the whole prompt may have so much more of its slots in use than one that has nothing of it. */
const cachedWorth = 0.5

/** Returns the best pace that is believed: it is given to those of whom nothing is, so that they are tried. */
const typicalOf = (candidates: ReadonlyArray<Candidate>, { prompt }: Ask, nowMs: number): Pace.Pace => {
  let best = Pace.unknown
  let bestMs = Number.POSITIVE_INFINITY
  for (const { pace } of candidates) {
    if (!Pace.isBelieved(pace, nowMs)) continue
    const ms = Pace.predictMs(pace, prompt.tokens)
    if (ms < bestMs) {
      best = pace
      bestMs = ms
    }
  }
  return best
}

/** A peer that is being tried is what it was until it has answered, so that it is tried with one request at a time. */
const paceOf = ({ pace }: Candidate, isWaitedFor: boolean, typical: Pace.Pace, nowMs: number): Pace.Pace =>
  pace.samples > 0 && (isWaitedFor || Pace.isBelieved(pace, nowMs)) ? pace : typical

/** Represents what is expected of a candidate. */
interface Estimate<C extends Candidate> {
  readonly candidate: C
  readonly prediction: Prediction
  /**
   * What choosing it costs: the time to this first token, and under load the work that it makes for the peer, for which
   * others wait, as much as there are others.
   */
  readonly costMs: number
  /** Its use, less what the cells that it has are worth. */
  readonly burden: number
}

const estimate = <C extends Candidate>(
  candidate: C,
  { prompt }: Ask,
  typical: Pace.Pace,
  load: number,
  nowMs: number
): Estimate<C> => {
  const { rttMs = rttMsAssumed, waitsSinceMs } = candidate
  const pace = paceOf(candidate, waitsSinceMs !== undefined, typical, nowMs)
  const cachedTokens = Math.min(prompt.tokens, candidate.covered(prompt.blocks) * tokensPerBlock)
  const computedTokens = prompt.tokens - cachedTokens
  const prefillMs = Pace.predictMs(pace, computedTokens)
  const queueMs = queueMsOf(candidate, pace, nowMs)
  // A peer that leaves somebody waiting takes at least as long.
  const waitedMs = waitsSinceMs === undefined ? 0 : nowMs - waitsSinceMs
  const ttftMs = Math.max(queueMs + prefillMs, waitedMs) + rttMs
  return {
    candidate,
    prediction: { ttftMs, queueMs, prefillMs, rttMs, cachedTokens },
    costMs: ttftMs + workWorth * load * (pace.msPerToken ?? 0) * computedTokens,
    burden: useOf(candidate) - (cachedWorth * cachedTokens) / Math.max(1, prompt.tokens)
  }
}

/** Prompts are computed one after another; who finds no free slot waits for one besides. */
const queueMsOf = (candidate: Candidate, pace: Pace.Pace, nowMs: number): number => {
  const { aheadTokens, computes, elsewhere, inFlight, slots } = candidate
  const { msPerToken = 0 } = pace
  const behind = Math.max(0, inFlight + elsewhere + 1 - slots)
  const doneMs = computes === undefined ? 0 : Math.min(computes.tokens * msPerToken, nowMs - computes.sinceMs)
  return msPerToken * aheadTokens - doneMs + (behind * pace.holdMs) / slots
}

const compareBurden = (a: Estimate<Candidate>, b: Estimate<Candidate>): number =>
  a.burden - b.burden || compareIdle(a.candidate, b.candidate)
