/** What routing is held to, as simulations: shared beginnings of prompts, a peer that slows down, one that flaps. */
import type { ChatMessage } from "@weft/engine/Generation"
import type { PolicyName } from "@weft/entry/routing/Policies"
import * as Figures from "../Figures.ts"
import * as Seeded from "../Seeded.ts"
import { type Answer, type PeerSetting, type Question, simulate, type World } from "./Simulation.ts"

/** A volunteer's processor with a model of some billion parameters. */
const usual: PeerSetting = { msPerPromptToken: 2, msPerAnswerToken: 20, slots: 4, rttMs: 20 }

/** A small model on a good graphics processor: enough answers a second to see parts of them move within seconds. */
const quick: PeerSetting = { msPerPromptToken: 0.4, msPerAnswerToken: 5, slots: 8, rttMs: 20 }

/** Represents what came of prompts with shared beginnings. */
export interface SharedOutcome {
  /** Part of the shared tokens whose cells were there. */
  readonly hits: number
  readonly answersPerSecond: number
  readonly ttftMsP50: number
}

/** Questions under way at once, tenants, and tokens of what each tenant's questions begin with. */
const shared = {
  clients: 6,
  tenants: 6,
  prefixTokens: 1_500,
  answerTokens: 24,
  untilMs: 300_000,
  warmMs: 60_000
} as const

/** Runs clients of several tenants against three peers; every tenant's questions begin with its own long text. */
export const sharedPrefixes = (policy: PolicyName, seed: number): SharedOutcome => {
  const seeded = Seeded.make(seed)
  const prefixes = Array.from({ length: shared.tenants }, (_, tenant) => wordsOf(`t${tenant}`, shared.prefixTokens))
  let questions = 0
  const ask = (world: World): void => {
    const tenant = seeded.below(shared.tenants)
    const content = `question ${++questions} of ${seeded.bits()}`
    world.ask({
      caller: `tenant ${tenant}`,
      prompt: { _tag: "Chat", messages: [system(prefixes[tenant] ?? ""), user(content)] },
      answerTokens: shared.answerTokens,
      answered: (_, world) => ask(world)
    })
  }
  const { answers } = simulate({
    policy,
    peers: [usual, usual, usual],
    untilMs: shared.untilMs,
    begin: (world) => {
      for (let client = 0; client < shared.clients; client++) ask(world)
    }
  })
  const warm = answers.filter(({ askedMs }) => askedMs >= shared.warmMs)
  const cached = warm.reduce((sum, { cachedTokens }) => sum + Math.min(cachedTokens, shared.prefixTokens), 0)
  return {
    hits: cached / (warm.length * shared.prefixTokens),
    answersPerSecond: (warm.length * 1_000) / (shared.untilMs - shared.warmMs),
    ttftMsP50: Figures.median(warm.map(({ askedMs, firstMs }) => firstMs - askedMs))
  }
}

/** Represents what came of a peer that slowed down to a third for a while. */
export interface SlowOutcome {
  /** Part of the requests that went to it before. */
  readonly shareBefore: number
  /** Seconds until it got less than half of that part; infinite where it never did. */
  readonly lostAfterSeconds: number
  /** Part of the requests that went to it while it was slow, from the tenth second on. */
  readonly shareWhileSlow: number
  /** Seconds after its recovery until it got more than two thirds again. */
  readonly regainedAfterSeconds: number
  /** Times its part fell below half of what it was and rose above two thirds of it: 2 is once away and once back. */
  readonly turns: number
  /** Conversations that moved, of so many. */
  readonly moves: number
  readonly conversations: number
}

/** When the peer is slow, and how the part it gets is looked at. */
const slowFromMs = 60_000
const slowUntilMs = 120_000
const watchedUntilMs = 240_000
const windowMs = 5_000
const stepMs = 1_000

/** Runs conversations against three peers, one of which is three times slower for a minute. */
export const slowPeer = (policy: PolicyName, seed: number): SlowOutcome => {
  const slowness = (nowMs: number) => (nowMs >= slowFromMs && nowMs < slowUntilMs ? 3 : 1)
  const chats = chatting(seed, { perSecond: 1.5, untilMs: watchedUntilMs })
  const { answers, moves } = simulate({
    policy,
    peers: [{ ...quick, slowness }, quick, quick],
    untilMs: watchedUntilMs + 60_000,
    begin: chats.begin
  })
  const shareIn = (fromMs: number, toMs: number): number => {
    const sent = answers.filter(({ sentMs }) => sentMs >= fromMs && sentMs < toMs)
    return sent.filter(({ peer }) => peer === 0).length / Math.max(1, sent.length)
  }
  const before = shareIn(20_000, slowFromMs)
  const windows = Array.from({ length: (watchedUntilMs - slowFromMs) / stepMs }, (_, at) => {
    const toMs = slowFromMs + (at + 1) * stepMs
    return { toMs, share: shareIn(toMs - windowMs, toMs) }
  })
  const lost = windows.find(({ share }) => share < before / 2)
  const regained = windows.find(({ share, toMs }) => toMs > slowUntilMs && share > (before * 2) / 3)
  return {
    shareBefore: before,
    lostAfterSeconds: lost === undefined ? Number.POSITIVE_INFINITY : (lost.toMs - slowFromMs) / 1_000,
    shareWhileSlow: shareIn(slowFromMs + 10_000, slowUntilMs),
    regainedAfterSeconds: regained === undefined ? Number.POSITIVE_INFINITY : (regained.toMs - slowUntilMs) / 1_000,
    turns: turnsOf(windows.map(({ share }) => share / before)),
    moves,
    conversations: chats.count()
  }
}

/** Represents what came of a peer that flapped, next to the same load on the two others alone. */
export interface FlapOutcome {
  readonly ttftMsP95: number
  readonly ttftMsP95Without: number
  /** Part of the answers that lost a peer on their way. */
  readonly failedPart: number
  readonly answers: number
}

/** Runs conversations against two peers and a third that is there every other second. */
export const flappingPeer = (policy: PolicyName, seed: number): FlapOutcome => {
  const run = (peers: ReadonlyArray<PeerSetting>) =>
    simulate({ policy, peers, untilMs: 180_000, begin: chatting(seed, { perSecond: 2, untilMs: 150_000 }).begin })
      .answers
  const isThere = (nowMs: number) => Math.floor(nowMs / 1_000) % 2 === 0
  const [flapping, without] = [run([quick, quick, { ...quick, isThere }]), run([quick, quick])]
  return {
    ttftMsP95: ttftP95(flapping),
    ttftMsP95Without: ttftP95(without),
    failedPart: flapping.filter(({ failures }) => failures > 0).length / flapping.length,
    answers: flapping.length
  }
}

/** Runs conversations against two whole peers and the faster host of a split; returns the answers of each. */
export const splitBeside = (policy: PolicyName, seed: number): ReadonlyArray<number> => {
  const fast = { ...usual, msPerPromptToken: 0.2, msPerAnswerToken: 2, isSplit: true }
  const { answers } = simulate({
    policy,
    peers: [usual, usual, fast],
    untilMs: 120_000,
    begin: chatting(seed, { perSecond: 4, untilMs: 90_000 }).begin
  })
  return [0, 1, 2].map((peer) => answers.filter((answer) => answer.peer === peer).length)
}

// internal

/** Counts how often a part goes away and comes back, between two bounds so that chance alone is no turn. */
const turnsOf = (parts: ReadonlyArray<number>): number => {
  let isAway = false
  let turns = 0
  for (const part of parts) {
    if (isAway ? part <= 2 / 3 : part >= 1 / 2) continue
    isAway = !isAway
    turns++
  }
  return turns
}

const ttftP95 = (answers: ReadonlyArray<Answer>): number =>
  Figures.quantile(
    answers.map(({ askedMs, firstMs }) => firstMs - askedMs),
    0.95
  )

const system = (content: string): ChatMessage => ({ role: "system", content })
const user = (content: string): ChatMessage => ({ role: "user", content })

/** Returns text of about so many tokens that begins like no other name's. */
const wordsOf = (name: string, tokens: number): string => `${name} `.repeat(Math.ceil((tokens * 4) / (name.length + 1)))

/** Returns conversations of one to six turns, as people have them: each turn begins with all that was said. */
const chatting = (seed: number, options: { readonly perSecond: number; readonly untilMs: number }) => {
  const seeded = Seeded.make(seed)
  let begun = 0
  const turn = (world: World, caller: string, before: ReadonlyArray<ChatMessage>, left: number): void => {
    const said = user(wordsOf(`${caller} ${before.length}`, 20 + seeded.below(200)))
    const messages = [...before, said]
    const answerTokens = 20 + seeded.below(60)
    const question: Question = {
      caller,
      prompt: { _tag: "Chat", messages },
      answerTokens,
      answered: ({ endMs }, world) => {
        if (left === 0) return
        const reply: ChatMessage = { role: "assistant", content: wordsOf(`reply ${before.length}`, answerTokens) }
        const thinkMs = 1_000 + seeded.below(6_000)
        world.at(endMs + thinkMs, () => turn(world, caller, [...messages, reply], left - 1))
      }
    }
    world.ask(question)
  }
  return {
    count: () => begun,
    begin: (world: World): void => {
      for (const seconds of Seeded.poisson(seeded, options.perSecond, options.untilMs / 1_000)) {
        world.at(seconds * 1_000, () => turn(world, `caller ${++begun}`, [], seeded.below(6)))
      }
    }
  }
}
