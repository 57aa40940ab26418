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
  const random = seeded(stages + count)
  const now = () => agenda.nowMs
  const spend = (ms: number): void => {
    agenda.nowMs += ms
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
  let isTurning = false
  const come = (line: number, fromMs: number, happen: () => void): void => {
    lineMs[line] = Math.max(lineMs[line] ?? 0, fromMs + hopMs * (1 + jitter * random()))
    agenda.at(lineMs[line] ?? 0, happen)
  }
  const answer = (frame: Tokens): void =>
    come(stages, agenda.nowMs, () => {
      jobs.receive(frame)
      turn()
    })
  const pass = (window: Window, stage: number): void => {
    const doneMs = Math.max(agenda.nowMs, freeMs[stage] ?? 0) + computesMs(window.tokens.length)
    freeMs[stage] = doneMs
    if (stage < stages - 1) {
      come(stage, doneMs, () => pass(window, stage + 1))
      return
    }
    agenda.at(doneMs, () => {
      const frame = tails.get(window.job)?.take(window)
      if (frame !== undefined) answer(frame)
    })
  }
  const give = (frame: StageFrame): void => {
    if (frame.kind === "open") tails.set(frame.job, tail(oracle, frame.terms, frame.epoch))
    if (frame.kind === "window") come(0, agenda.nowMs, () => pass(frame, 1))
  }
  /** One turn, and the next behind whatever came in meanwhile. */
  const turn = (): void => {
    if (isTurning) return
    const { events, frames } = jobs.turn()
    for (const frame of frames) give(frame)
    for (const [key, event] of events) {
      if (event._tag === "Delta") firstMs[key] ??= agenda.nowMs
      if (event._tag === "Finished") lastMs[key] = agenda.nowMs
    }
    jobs.guess()
    isTurning = !jobs.idle()
    if (isTurning)
      agenda.at(agenda.nowMs, () => {
        isTurning = false
        turn()
      })
  }
  jobs.connect(1)
  for (let key = 0; key < answers; key++) {
    const prompt = Array.from({ length: promptTokens }, (_, at) => (at * (key + 3)) % vocabularyTokens)
    jobs.submit(key, { request: ask({ _tag: "Tokens", tokens: prompt }, { maxTokens: count }), prompt, seed: 1 })
  }
  turn()
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
