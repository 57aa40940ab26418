/**
 * Chooses the peer of each answer, and learns from what becomes of it. Owns all that routing remembers: the peers of
 * each model, their breakers, the conversations. No clock, no socket: `Slots.ts` tells it what is so and when.
 *
 *   directory, links ─▶ Eligible ─▶ Policy ─ Choice ─▶ Slots ─ sent, begun, ended ─▶ Errand ─▶ Pace, Breaker
 */
import type { Prompt } from "@weft/engine/Generation"
import * as PeerDirectory from "@weft/mesh/PeerDirectory"
import type { PeerId } from "@weft/mesh/PeerId"
import { Either } from "effect"
import type { Figures, Served } from "../performance/PerformanceState.ts"
import { Breakers } from "./Breakers.ts"
import { Conversations } from "./Conversations.ts"
import { type EligibleRules, eligible, type Nobody, type View, type Wanted } from "./Eligible.ts"
import { Errand } from "./Errand.ts"
import { PeerModel } from "./PeerModel.ts"
import type { Ask, Choice, Policy } from "./Policy.ts"
import * as PromptBlocks from "./PromptBlocks.ts"
import type { TrustList } from "./TrustList.ts"

/** Represents a choice with what it was made for. */
export interface Route {
  readonly choice: Choice<PeerModel>
  readonly ask: Ask
}

/** Represents what a router is made of. */
export interface RouterOptions {
  readonly policy: Policy
  readonly trust: TrustList
  /** Returns what was measured of a peer in the last hour. */
  readonly figuresOf: (served: Served) => Figures | undefined
  /** Where its draws begin, any whole number: those of several entries should differ. */
  readonly turn: number
}

/** Represents how much a router decided. */
export interface RouterCounts {
  /** Answers that were sent to peers. */
  sent: number
  /** Conversations that went on at another peer than before. */
  moves: number
  /** Tokens of prompts that were sent, and those of them that the peer was expected not to compute; estimated. */
  promptTokens: number
  cachedTokens: number
}

/** Most peers and models that are remembered, together; those whose model changed longest ago are forgotten first. */
const peerModelsMax = 16_384
/** Most prompts that are remembered of all peers together: 130 MB where each has 64 KiB and more, else much less. */
const promptsMax = 65_536
/** The last hour changes slowly, and adding it up takes longer than a decision. */
const figuresForMs = 5_000

/** Represents the router of one entry. */
export class Router {
  readonly counts: RouterCounts = { sent: 0, moves: 0, promptTokens: 0, cachedTokens: 0 }
  readonly #policy: Policy
  readonly #rules: EligibleRules
  readonly #figuresOf: RouterOptions["figuresOf"]
  readonly #lists = new Map<string, List>()
  readonly #known = new Map<string, PeerModel>()
  readonly #breakers = new Breakers()
  readonly #conversations = new Conversations()
  #turn: number
  /** One at a time is read anew, as it takes longer than a decision may. */
  #figuresReadMs = Number.NEGATIVE_INFINITY

  constructor({ figuresOf, policy, trust, turn }: RouterOptions) {
    this.#policy = policy
    this.#turn = turn
    this.#figuresOf = figuresOf
    this.#rules = {
      trust,
      passes: (peer, nowMs) => this.#breakers.passes(peer, nowMs),
      figuresOf: (one, nowMs) => this.#figures(one, nowMs)
    }
  }

  /** Returns a prompt as decisions need it; what they do not look at is not made. */
  readPrompt(model: string, caller: string, prompt: Prompt): PromptBlocks.PromptBlocks {
    return this.#policy.readsPrompts ? PromptBlocks.of(model, caller, prompt) : unread
  }

  /** Returns why nobody may be asked now; undefined where somebody may. */
  refusal(view: View, wanted: Wanted): Nobody | undefined {
    const found = eligible(this.#peersOf(view, wanted.model), wanted, view, this.#rules)
    return Either.isLeft(found) ? found.left : undefined
  }

  /** Chooses a peer; nothing is changed by it. */
  choose(view: View, wanted: Wanted, prompt: PromptBlocks.PromptBlocks): Either.Either<Route, Nobody> {
    return Either.map(eligible(this.#peersOf(view, wanted.model), wanted, view, this.#rules), ({ busy, free }) => {
      const { conversation } = prompt
      const lastPeer = conversation === undefined ? undefined : this.#conversations.peerOf(conversation, view.nowMs)
      const ask = { prompt, lastPeer }
      const [first, ...others] = free
      const candidates = [first, ...others, ...busy.filter((one) => isWorthWaiting(one, prompt))] as const
      return { choice: this.#policy.choose(candidates, ask, { turn: this.#turn }, view.nowMs), ask }
    })
  }

  /** Notes that the request of a route is sent; `isResumed` where another peer began the answer. */
  sent({ ask, choice }: Route, isResumed: boolean, nowMs: number): Errand {
    const { candidate, explanation } = choice
    const { blocks, conversation, tokens } = ask.prompt
    const cached = explanation.prediction?.cachedTokens
    const cachedTokens = cached ?? Math.min(tokens, candidate.covered(blocks) * PromptBlocks.tokensPerBlock)
    this.#turn++
    this.counts.sent++
    this.counts.promptTokens += tokens
    this.counts.cachedTokens += cachedTokens
    if (ask.lastPeer !== undefined && ask.lastPeer !== candidate.peer) this.counts.moves++
    if (conversation !== undefined) this.#conversations.note(conversation, candidate.peer, nowMs)
    return new Errand(candidate, this.#breakers, {
      sentMs: nowMs,
      computedTokens: tokens - cachedTokens,
      blocks,
      promptsMax: Math.ceil(promptsMax / Math.max(1, this.#known.size)),
      teaches: !isResumed
    })
  }

  /** Returns how many peers are kept from requests now. */
  openBreakers(nowMs: number): number {
    return this.#breakers.openCount(nowMs)
  }

  /** Forgets the lists of models that the directory has forgotten. */
  prune(directory: PeerDirectory.PeerDirectory): void {
    for (const model of this.#lists.keys()) if (!directory.models.has(model)) this.#lists.delete(model)
  }

  /** Returns the peers with a model; made anew where somebody registered or left who has it. */
  #peersOf({ directory }: View, model: string): ReadonlyArray<PeerModel> {
    const holders = directory.holders.get(model)
    if (holders === undefined) return []
    const list = this.#lists.get(model)
    if (list?.holders === holders) return list.peers
    const peers = PeerDirectory.holding(directory, model).map(({ info }) => {
      const one = this.#peerModel(info.id, model)
      one.announced(info)
      return one
    })
    this.#lists.set(model, { holders, peers })
    return peers
  }

  #peerModel(peer: PeerId, model: string): PeerModel {
    const key = `${peer} ${model}`
    const one = this.#known.get(key) ?? new PeerModel(peer, model)
    this.#known.delete(key)
    this.#known.set(key, one)
    if (this.#known.size > peerModelsMax) forgetFirst(this.#known)
    return one
  }

  #figures(one: PeerModel, nowMs: number): Figures | undefined {
    const known = one.figures
    const isFresh = known !== undefined && nowMs - known.readMs < figuresForMs
    if (isFresh || this.#figuresReadMs === nowMs) return known?.of
    this.#figuresReadMs = nowMs
    const { mode, model, peer } = one
    one.figures = { of: this.#figuresOf({ peer, model, mode }), readMs: nowMs }
    return one.figures.of
  }
}

// internal

interface List {
  readonly holders: ReadonlyArray<PeerId>
  readonly peers: ReadonlyArray<PeerModel>
}

/**
 * A peer that has most of a long prompt may be worth a wait in its own queue, though others are free: a prompt takes
 * longer than most waits. As many may wait there as half its slots, so that turns stay fair.
 */
const isWorthWaiting = (one: PeerModel, { blocks, tokens }: PromptBlocks.PromptBlocks): boolean =>
  one.inFlight < one.slots * 1.5 && one.covered(blocks) * PromptBlocks.tokensPerBlock * 2 > tokens

const unread: PromptBlocks.PromptBlocks = { blocks: [], tokens: 0, conversation: undefined }

const forgetFirst = (map: Map<unknown, unknown>): void => {
  for (const first of map.keys()) {
    map.delete(first)
    return
  }
}
