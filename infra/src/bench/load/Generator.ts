/**
 * The process that sends the load: streams that are begun again as they end, or arrivals that do not wait for answers.
 */
import * as ChatStream from "../http/ChatStream.ts"
import * as HttpConnections from "../http/HttpConnections.ts"
import * as Latencies from "../Latencies.ts"
import { serve } from "../Programs.ts"
import * as Seeded from "../Seeded.ts"
import * as Nonce from "./Nonce.ts"

/** Represents one phase. */
export interface LoadQuestion {
  readonly url: string
  readonly model: string
  readonly endToken: number
  /** `streams`: as many under way at any time; `perSecond`: Poisson arrivals of that rate. */
  readonly load: { readonly streams: number } | { readonly perSecond: number }
  readonly seconds: number
  /** Tokens of an answer. */
  readonly tokens: number
  /** Part of the answers that their client leaves in the middle. */
  readonly cancelled: number
  readonly seed: number
}

/** Represents how a phase went. `asked` is the sum of the other counts of its group. */
export interface LoadReply {
  readonly asked: number
  readonly whole: number
  readonly cancelled: number
  /** 429 and 503 with `retry-after`. */
  readonly refused: number
  /** Everything else: errors, cut streams, streams without an end, refusals without `retry-after`. */
  readonly lost: number
  /** What became of the lost ones, by status and code. */
  readonly lostBy: Readonly<Record<string, number>>
  /** Answers with another request's words. */
  readonly crossed: number
  /** Answers whose words are nobody's. */
  readonly misspelt: number
  /** Whole answers per second in the last three quarters of the phase, each by the part of its text that came then. */
  readonly goodput: number
  /** Mean number of requests under way, seen at each arrival and each end. */
  readonly underWay: number
  readonly ttftMs: Latencies.Quantiles
  readonly itlMs: Latencies.Quantiles
  readonly e2eMs: Latencies.Quantiles
}

/** First part of a phase that does not count for the goodput, as its load is not all there yet. */
const rampPart = 0.25
/** Longest wait for the answers under way when a phase is over; then they are lost. */
const patienceMs = 60_000
/** Wait of a held stream that was refused, whatever `retry-after` says: streams are to be held, not spared. */
const refusedPauseMs = 250

serve((question: LoadQuestion): Promise<LoadReply> => new Phase(question).run())

// internal

class Phase {
  readonly #connections: HttpConnections.HttpConnections
  readonly #chance: Seeded.Seeded
  readonly #nonces = new Set<string>()
  readonly #open = new Set<ChatStream.ChatExchange>()
  readonly #ttft = Latencies.make()
  readonly #itl = Latencies.make()
  readonly #e2e = Latencies.make()
  readonly #counts = { asked: 0, whole: 0, cancelled: 0, refused: 0, lost: 0, crossed: 0, misspelt: 0 }
  readonly #lostBy: Record<string, number> = {}
  #startedMs = 0
  #good = 0
  #underWaySum = 0
  #looks = 0

  constructor(private readonly question: LoadQuestion) {
    this.#connections = HttpConnections.make(question.url)
    this.#chance = Seeded.make(question.seed)
  }

  async run(): Promise<LoadReply> {
    const { load, seconds } = this.question
    this.#startedMs = performance.now()
    const asked = "streams" in load ? this.#hold(load.streams) : this.#arrive(load.perSecond)
    const patience = setTimeout(
      () => {
        for (const exchange of this.#open) exchange.abort()
      },
      seconds * 1000 + patienceMs
    )
    await asked
    clearTimeout(patience)
    this.#connections.close()
    return {
      ...this.#counts,
      lostBy: this.#lostBy,
      goodput: this.#good / (seconds * (1 - rampPart)),
      underWay: this.#underWaySum / this.#looks,
      ttftMs: this.#ttft.quantiles(),
      itlMs: this.#itl.quantiles(),
      e2eMs: this.#e2e.quantiles()
    }
  }

  async #hold(streams: number): Promise<void> {
    const endMs = this.#startedMs + this.question.seconds * 1000
    const one = async (): Promise<void> => {
      while (performance.now() < endMs) {
        if ((await this.#ask()) === "refused") await Bun.sleep(refusedPauseMs)
      }
    }
    await Promise.all(Array.from({ length: streams }, one))
  }

  async #arrive(perSecond: number): Promise<void> {
    const asked: Array<Promise<unknown>> = []
    for (const atSeconds of Seeded.poisson(this.#chance, perSecond, this.question.seconds)) {
      const waitMs = this.#startedMs + atSeconds * 1000 - performance.now()
      if (waitMs > 0) await Bun.sleep(waitMs)
      asked.push(this.#ask())
    }
    await Promise.all(asked)
  }

  async #ask(): Promise<Outcome> {
    const { cancelled, endToken, model, tokens } = this.question
    const nonce = Nonce.draw(this.#chance, this.#nonces)
    this.#nonces.add(nonce)
    // The client leaves after this many pieces, if it leaves.
    const leaveAfter = this.#chance.unit() < cancelled ? 1 + this.#chance.below(tokens / 2) : Number.POSITIVE_INFINITY
    let pieces = 0
    const exchange = ChatStream.ask(this.#connections, {
      model,
      messages: [{ role: "user", content: Nonce.promptOf(nonce) }],
      maxTokens: tokens,
      more: { logit_bias: { [endToken]: -100 } },
      onPiece: () => {
        if (++pieces >= leaveAfter) exchange.abort()
      }
    })
    this.#open.add(exchange)
    this.#counts.asked++
    this.#look()
    const answer = await exchange.answer
    this.#open.delete(exchange)
    this.#look()
    return this.#note(answer, nonce, pieces >= leaveAfter)
  }

  #look(): void {
    this.#underWaySum += this.#open.size
    this.#looks++
  }

  #note(answer: ChatStream.ChatAnswer, nonce: string, hasLeft: boolean): Outcome {
    const outcome = hasLeft && !answer.whole ? "cancelled" : outcomeOf(answer)
    this.#counts[outcome]++
    if (outcome === "lost") {
      const why = `${answer.status} ${answer.errorCode ?? "cut off"}`
      this.#lostBy[why] = (this.#lostBy[why] ?? 0) + 1
    }
    if (outcome === "refused") return outcome
    const judged = Nonce.judge(ChatStream.textOf(answer), nonce, this.#nonces)
    if (judged === "crossed" || judged === "misspelt") this.#counts[judged]++
    if (outcome !== "whole") return outcome
    const { endedMs, pieces, startedMs } = answer
    this.#ttft.add(ChatStream.firstTextMs(answer))
    this.#e2e.add(endedMs - startedMs)
    for (let index = 1; index < pieces.length; index++) {
      this.#itl.add((pieces[index]?.atMs ?? 0) - (pieces[index - 1]?.atMs ?? 0))
    }
    // Answers that began together end together: counted by their ends, a wave more or less would be the goodput.
    this.#good += pieces.filter(({ atMs }) => this.#isSettled(atMs)).length / Math.max(1, pieces.length)
    return outcome
  }

  /** Whether what came at `atMs` came while the load was all there. */
  #isSettled(atMs: number): boolean {
    const atPart = (atMs - this.#startedMs) / (this.question.seconds * 1000)
    return atPart >= rampPart && atPart <= 1
  }
}

type Outcome = "cancelled" | "lost" | "refused" | "whole"

function outcomeOf({ headers, status, whole }: ChatStream.ChatAnswer): Outcome {
  if (whole) return "whole"
  return (status === 429 || status === 503) && headers["retry-after"] !== undefined ? "refused" : "lost"
}
