/**
 * Answers over a pipeline in virtual time: stages that compute, lines that take their time, and a draft model that
 * computes in the time of the first stage. What comes in while the host computes waits until it has done so.
 */
import * as PipelineJobs from "@weft/engine/pipeline/PipelineJobs"
import type { StageFrame, Tokens, Window } from "@weft/engine/pipeline/StageFrame"
import { ask } from "../asking.ts"
import { agreeing, guessing, oracleLoop } from "./drafting.ts"
import { Agenda, type Oracle, seeded, type Tail, tail, vocabularyTokens } from "./tailing.ts"

/** Represents a pipeline whose stages are alike, and the text of its answers. */
export interface World {
  readonly oracle: Oracle
  readonly promptTokens: number
  readonly count: number
  /** Answers at once. */
  readonly answers: number
  readonly stages: number
  readonly hopMs: number
  /** Share by which a hop's time varies. */
  readonly jitter: number
  /** A decode takes the first, and the second for each row. */
  readonly baseMs: number
  readonly rowMs: number
  /** How often the draft model says what the whole one does, and its time for a token. */
  readonly right: number
  readonly tokenMs: number
}

/** Who guesses in a run: nobody, the lookup, or that and the model. */
export type Speed = "plain" | "lookup" | "model"

/** Represents what came of a run. */
export interface Result {
  /** Milliseconds from each answer's first token to its last, all together. */
  readonly tookMs: number
  /** Until the first tokens. */
  readonly firstMs: number
  readonly drafted: number
  readonly accepted: number
}

const text = { vocabularyTokens, endsAnswer: () => false, piece: () => Uint8Array.of(97) }

/** Runs the answers of a world to their ends. */
export const run = (world: World, speed: Speed): Result => {
  const { answers, baseMs, count, hopMs, jitter, oracle, promptTokens, right, rowMs, stages, tokenMs } = world
  const agenda = new Agenda()
  /** The host's own clock: it runs ahead while the host computes, and all else goes on meanwhile. */
  let hostMs = 0
  const now = () => Math.max(hostMs, agenda.nowMs)
  const spend = (ms: number): void => {
    hostMs = now() + ms
  }
  const computesMs = (rows: number): number => baseMs + rowMs * rows
  const contextTokens = promptTokens + count + 1
  const own = oracleLoop(oracle, answers, (rows) => spend(computesMs(rows)), true)
  const model = { oracle: agreeing(oracle, right), slots: answers, contextTokens, tokenMs }
  const guesses = speed === "model" ? guessing(model, now, spend) : { speculates: speed === "lookup" }
  const limits = { text, slots: answers, contextTokens, stallMs: 1e9 }
  const jobs = PipelineJobs.make({ ...limits, loop: own, guessing: guesses, now })
  const freeMs = Array.from({ length: stages }, () => 0)
  /** When the last frame of each line comes: they do not overtake each other. */
  const lineMs = Array.from({ length: stages + 1 }, () => 0)
  const tails = new Map<number, Tail>()
  const firstMs: Array<number | undefined> = []
  const lastMs: Array<number> = []
  const inbox: Array<Tokens> = []
  let isAwake = false
  // The same place of an answer takes as long in every run, so that runs differ by what is guessed alone.
  const hop = (line: number, { job, position }: Window | Tokens): number =>
    hopMs * (1 + jitter * seeded((job * 1_000 + position) * 10 + line)())
  const come = (line: number, frame: Window | Tokens, fromMs: number, happen: () => void): void => {
    lineMs[line] = Math.max(lineMs[line] ?? 0, fromMs + hop(line, frame))
    agenda.at(lineMs[line] ?? 0, happen)
  }
  const answer = (frame: Tokens): void =>
    come(stages, frame, agenda.nowMs, () => {
      inbox.push(frame)
      wake()
    })
  const pass = (window: Window, stage: number): void => {
    const doneMs = Math.max(agenda.nowMs, freeMs[stage] ?? 0) + computesMs(window.tokens.length)
    freeMs[stage] = doneMs
    if (stage < stages - 1) {
      come(stage, window, doneMs, () => pass(window, stage + 1))
      return
    }
    agenda.at(doneMs, () => {
      const frame = tails.get(window.job)?.take(window)
      if (frame !== undefined) answer(frame)
    })
  }
  const give = (frame: StageFrame): void => {
    if (frame.kind === "open") tails.set(frame.job, tail(oracle, frame.terms, frame.epoch))
    if (frame.kind === "window") come(0, frame, now(), () => pass(frame, 1))
  }
  /** One turn as soon as the host has time, and the next behind whatever came in meanwhile. */
  const wake = (): void => {
    if (isAwake) return
    isAwake = true
    agenda.at(now(), () => {
      isAwake = false
      turn()
      if (!jobs.idle() || inbox.length > 0) wake()
    })
  }
  const turn = (): void => {
    for (const frame of inbox.splice(0)) jobs.receive(frame)
    const { events, frames } = jobs.turn()
    for (const frame of frames) give(frame)
    for (const [key, event] of events) {
      if (event._tag === "Delta") firstMs[key] ??= now()
      if (event._tag === "Finished") lastMs[key] = now()
    }
    jobs.guess()
  }
  jobs.connect(1)
  for (let key = 0; key < answers; key++) {
    const prompt = Array.from({ length: promptTokens }, (_, at) => (at * (key + 3)) % vocabularyTokens)
    jobs.submit(key, { request: ask({ _tag: "Tokens", tokens: prompt }, { maxTokens: count }), prompt, seed: 1 })
  }
  wake()
  while (lastMs.filter((ms) => ms > 0).length < answers && agenda.step());
  const sum = (values: ReadonlyArray<number | undefined>) => values.reduce<number>((all, one) => all + (one ?? 0), 0)
  const counts = jobs.stats()
  return {
    tookMs: sum(lastMs) - sum(firstMs),
    firstMs: sum(firstMs),
    drafted: counts.lookup.drafted + (counts.model?.drafted ?? 0),
    accepted: counts.lookup.accepted + (counts.model?.accepted ?? 0)
  }
}
