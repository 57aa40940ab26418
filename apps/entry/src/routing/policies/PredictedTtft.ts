/**
 * The peer that should give the first token soonest: what waits there, the part of the prompt it must compute, and the
 * way. Peers between whom no measurement can tell are the same, and then a conversation stays where it is, and else the
 * least busy takes it. Pure.
 */
import * as Pace from "../Pace.ts"
import { type Ask, type Candidate, drawTwo, least, type Policy, type Prediction, useOf } from "../Policy.ts"
import { tokensPerBlock } from "../PromptBlocks.ts"
import { compareIdle } from "./LeastLoaded.ts"

/** Predicts the time to the first token of each candidate. */
export const predictedTtft: Policy = {
  name: "predicted-ttft",
  readsPrompts: true,
  choose: (candidates, ask, { turn }, nowMs) => {
    const typical = typicalOf(candidates, ask, nowMs)
    const told = (
      rule: "only" | "conversation" | "fastest" | "idlest" | "drawn",
      candidate: (typeof candidates)[0]
    ) => ({
      candidate,
      explanation: {
        rule,
        candidates: candidates.length,
        prediction: predict(candidate, ask, typical, nowMs)
      }
    })
    if (candidates.length === 1) return told("only", candidates[0])
    const load = candidates.reduce((sum, candidate) => sum + useOf(candidate), 0) / candidates.length
    const times = candidates.map((candidate) => costOf(candidate, ask, typical, load, nowMs))
    const bestMs = Math.min(...times)
    const kept = candidates.findIndex(({ peer }) => peer === ask.lastPeer)
    const keptMs = times[kept]
    const keeper = candidates[kept]
    if (keeper !== undefined && keptMs !== undefined && keptMs <= within(bestMs, conversationMargin)) {
      return told("conversation", keeper)
    }
    const [first = candidates[0], ...others] = candidates.filter(
      (_, at) => (times[at] ?? Number.POSITIVE_INFINITY) <= within(bestMs, sameMargin)
    )
    if (others.length === 0) return told("fastest", first)
    const compare = (a: Candidate, b: Candidate) => burdenOf(a, ask) - burdenOf(b, ask) || compareIdle(a, b)
    if (others.length === 1 || load < loadOfDraws) return told("idlest", least([first, ...others], compare))
    const [one = first, other = first] = drawTwo([first, ...others], turn)
    return told("drawn", least([one, other], compare))
  }
}

/** Returns what the time to the first token of a candidate should be made of; `typical` holds where it is unknown. */
export const predict = (candidate: Candidate, ask: Ask, typical: Pace.Pace, nowMs: number): Prediction => {
  const pace = paceOf(candidate, typical, nowMs)
  const cachedTokens = cachedOf(candidate, ask)
  const prefillMs = Pace.predictMs(pace, ask.prompt.tokens - cachedTokens)
  const rttMs = candidate.rttMs ?? rttMsAssumed
  const queueMs = queueMsOf(candidate, pace)
  const ttftMs = ttftOf(candidate, ask, typical, nowMs)
  return { ttftMs, queueMs, prefillMs, rttMs, cachedTokens }
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
const conversationMargin: Margin = { share: 0.75, ms: 250 }

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
const paceOf = ({ pace, waitsSinceMs }: Candidate, typical: Pace.Pace, nowMs: number): Pace.Pace =>
  pace.samples > 0 && (waitsSinceMs !== undefined || Pace.isBelieved(pace, nowMs)) ? pace : typical

const cachedOf = (candidate: Candidate, { prompt }: Ask): number =>
  Math.min(prompt.tokens, candidate.covered(prompt.blocks) * tokensPerBlock)

/** Prompts are computed one after another; who finds no free slot waits for one besides. */
const queueMsOf = (candidate: Candidate, pace: Pace.Pace): number => {
  const { aheadTokens, elsewhere, inFlight, slots } = candidate
  const behind = Math.max(0, inFlight + elsewhere + 1 - slots)
  return (pace.msPerToken ?? 0) * aheadTokens + (behind * pace.holdMs) / slots
}

/** A peer that leaves somebody waiting takes at least as long. */
const ttftOf = (candidate: Candidate, ask: Ask, typical: Pace.Pace, nowMs: number): number => {
  const pace = paceOf(candidate, typical, nowMs)
  const own = queueMsOf(candidate, pace) + Pace.predictMs(pace, ask.prompt.tokens - cachedOf(candidate, ask))
  const waited = candidate.waitsSinceMs === undefined ? 0 : nowMs - candidate.waitsSinceMs
  return Math.max(own, waited) + (candidate.rttMs ?? rttMsAssumed)
}

/**
 * What a choice costs: the time to its own first token, and under load the work that it makes for the peer, for which
 * others wait, as much as there are others.
 */
const costOf = (candidate: Candidate, ask: Ask, typical: Pace.Pace, load: number, nowMs: number): number => {
  const computedTokens = ask.prompt.tokens - cachedOf(candidate, ask)
  const workMs = (paceOf(candidate, typical, nowMs).msPerToken ?? 0) * computedTokens
  return ttftOf(candidate, ask, typical, nowMs) + workWorth * load * workMs
}

const burdenOf = (candidate: Candidate, ask: Ask): number =>
  useOf(candidate) - (cachedWorth * cachedOf(candidate, ask)) / Math.max(1, ask.prompt.tokens)
