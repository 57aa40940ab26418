/**
 * One half of a pair: a mesh that nobody has asked anything yet, and all questions asked of it by clients that each
 * wait for their answer before they ask the next.
 */
import { basename } from "node:path"
import * as Figures from "../Figures.ts"
import * as ChatStream from "../http/ChatStream.ts"
import * as Mesh from "../Mesh.ts"
import type { Question } from "./Tenants.ts"

/** Represents the mesh that is asked, and how. */
export interface HalfOptions {
  /** Value of `WEFT_ROUTING`; undefined leaves the entry its default. */
  readonly policy: string | undefined
  readonly model: string
  readonly peers: number
  /** Answers of one peer at once, and beginnings that it keeps. */
  readonly slots: number
  /** Clients that ask at once. */
  readonly clients: number
  /** Tokens of an answer. */
  readonly tokens: number
  readonly questions: ReadonlyArray<Question>
}

/** Represents how it went. */
export interface HalfOutcome {
  /** Whole answers, the first of each tenant included, and prompt tokens; from the first question to the last end. */
  readonly answersPerSecond: number
  readonly promptTokensPerSecond: number
  /** Questions whose beginning somebody had computed before, and those of them that found it. */
  readonly again: number
  readonly hits: number
  readonly promptTokens: Figures.Spread
  /** Part of all prompt tokens that were not computed. */
  readonly cachedPart: number
  readonly ttftMs: Figures.Spread
  /** Peers that answered a tenant: 1 is a tenant that stayed where it was. */
  readonly peersOfTenant: Figures.Spread
  /** Questions without a whole answer. */
  readonly lost: number
}

/**
 * Part of a prompt whose cells must have been there for a hit. It is held against the whole prompt, so that it is more
 * than the same part of what a tenant's prompts share.
 */
const hitPart = 0.9
/** Tokens of prompt and answer: both are far shorter, and the cells of more cost memory. */
const contextTokens = 2048
/** Longest wait for an answer: a prompt takes a second, and a few wait before it. */
const answerMsMax = 60_000

/** Starts the mesh, asks all questions and stops it. */
export const ask = async (options: HalfOptions): Promise<HalfOutcome> => {
  const { model, peers, policy, slots } = options
  const entry = await Mesh.startEntry(policy === undefined ? {} : { WEFT_ROUTING: policy })
  const started = await Promise.all(
    Array.from({ length: peers }, () => Mesh.startPeer({ url: entry.url, model, slots, threads: 1, contextTokens }))
  )
  const asked = await askAll(entry, options)
  entry.connections.close()
  await Promise.all(started.map(Mesh.stop))
  entry.program.signal("SIGTERM")
  await entry.program.exited
  return outcomeOf(asked)
}

// internal

interface Asked {
  readonly question: Question
  readonly answer: ChatStream.ChatAnswer
}

const askAll = async (entry: Mesh.Entry, options: HalfOptions): Promise<ReadonlyArray<Asked>> => {
  const model = basename(options.model, ".gguf")
  const asked: Array<Asked> = []
  // All clients take from one list, so that the order of the questions is the same in both halves.
  const left = options.questions.values()
  const client = async (): Promise<void> => {
    for (const question of left) {
      const { messages } = question
      const exchange = ChatStream.ask(entry.connections, { model, messages, maxTokens: options.tokens })
      const timer = setTimeout(exchange.abort, answerMsMax)
      asked.push({ question, answer: await exchange.answer })
      clearTimeout(timer)
    }
  }
  await Promise.all(Array.from({ length: options.clients }, client))
  return asked
}

const outcomeOf = (asked: ReadonlyArray<Asked>): HalfOutcome => {
  const whole = asked.filter(({ answer }) => answer.whole && answer.usage !== undefined)
  const startedMs = Math.min(...asked.map(({ answer }) => answer.startedMs))
  const seconds = (Math.max(...asked.map(({ answer }) => answer.endedMs)) - startedMs) / 1000
  const promptTokens = whole.map(({ answer }) => answer.usage?.promptTokens ?? 0)
  const cachedTokens = whole.map(({ answer }) => answer.usage?.cachedTokens ?? 0)
  const again = whole.filter(({ question }) => !question.isFirst)
  const peers = new Map<number, Set<string>>()
  for (const { answer, question } of whole) {
    const known = peers.get(question.tenant) ?? new Set()
    peers.set(question.tenant, known.add(answer.headers["x-weft-served-by"] ?? ""))
  }
  return {
    answersPerSecond: whole.length / seconds,
    promptTokensPerSecond: sumOf(promptTokens) / seconds,
    again: again.length,
    hits: again.filter(isHit).length,
    promptTokens: Figures.spread(promptTokens),
    cachedPart: sumOf(cachedTokens) / sumOf(promptTokens),
    ttftMs: Figures.spread(whole.map(({ answer }) => ChatStream.firstTextMs(answer))),
    peersOfTenant: Figures.spread([...peers.values()].map(({ size }) => size)),
    lost: asked.length - whole.length
  }
}

const isHit = ({ answer: { usage } }: Asked): boolean =>
  usage !== undefined && usage.cachedTokens >= hitPart * usage.promptTokens

const sumOf = (values: ReadonlyArray<number>): number => values.reduce((sum, value) => sum + value, 0)
