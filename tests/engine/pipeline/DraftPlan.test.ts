/**
 * Drafts in virtual time: stages that compute and lines that take their time, with texts that can be guessed and such
 * that cannot. Guessing ahead must pay where it can; that it costs nothing elsewhere is shown in `DraftModel.test.ts`.
 */
import { describe, expect, test } from "bun:test"
import * as Draft from "@weft/engine/pipeline/Draft"
import * as DraftPlan from "@weft/engine/pipeline/DraftPlan"
import * as JobState from "@weft/engine/pipeline/JobState"
import * as LoopTime from "@weft/engine/pipeline/LoopTime"
import type { Window } from "@weft/engine/pipeline/StageFrame"
import { greedy } from "../asking.ts"
import { Agenda, hashing, type Oracle, repeating, tail, vocabularyTokens } from "./tailing.ts"

/** Represents a pipeline whose stages are alike, and a text. */
interface World {
  readonly oracle: Oracle
  readonly prompt: ReadonlyArray<number>
  readonly count: number
  readonly stages: number
  readonly hopMs: number
  /** A decode takes the first, and the second for each row. */
  readonly baseMs: number
  readonly rowMs: number
}

const world = (changes: Partial<World> = {}): World => ({
  oracle: repeating(7, 50),
  prompt: Array.from({ length: 30 }, (_, at) => (at * 3) % vocabularyTokens),
  count: 400,
  stages: 2,
  hopMs: 50,
  baseMs: 5,
  rowMs: 0.5,
  ...changes
})

interface Result {
  readonly tookMs: number
  readonly accepted: number
  readonly drafted: number
}

/** Returns how long an answer takes, and what became of its drafts. */
const run = (drafter: Draft.Drafter, { baseMs, count, hopMs, oracle, prompt, rowMs, stages }: World): Result => {
  const agenda = new Agenda()
  const job = JobState.make({ prompt, resumed: [], tokensMax: count, vocabularyTokens })
  const plan = DraftPlan.make({ lookup: drafter })
  const terms = { seed: 1, sampling: greedy, promptTokens: prompt.length, contextTokens: prompt.length + count }
  const end = tail(oracle, terms, 1)
  const freeMs = Array.from({ length: stages }, () => 0)
  /** When the last frame of each line comes: they do not overtake each other. */
  const lineMs = Array.from({ length: stages }, () => 0)
  const sum = { accepted: 0, drafted: 0 }
  let loop = LoopTime.none
  let decided = 0
  let backMs = 0
  const pass = (window: Window, stage: number): void => {
    const computesMs = baseMs + rowMs * window.tokens.length
    const doneMs = Math.max(agenda.nowMs, freeMs[stage] ?? 0) + computesMs
    freeMs[stage] = doneMs
    if (stage === 0 && window.position >= prompt.length) loop = LoopTime.observeOwn(loop, computesMs)
    if (stage < stages - 1) {
      lineMs[stage] = Math.max(lineMs[stage] ?? 0, doneMs + hopMs)
      agenda.at(lineMs[stage] ?? 0, () => pass(window, stage + 1))
      return
    }
    agenda.at(doneMs, () => {
      const frame = end.take(window)
      backMs = Math.max(backMs, agenda.nowMs + hopMs)
      if (frame !== undefined) agenda.at(backMs, () => take(frame))
    })
  }
  const take = (frame: Parameters<typeof job.received>[0]): void => {
    const { accepted, answered, dropped, tokens } = job.received(frame, agenda.nowMs)
    if (answered === undefined) return
    if (answered.isAlone) loop = LoopTime.observe(loop, answered.rows, answered.tookMs)
    sum.accepted += accepted
    sum.drafted += answered.drafts
    plan.account(answered, tokens.length, dropped, { loop, others: 0 })
    decided += tokens.length
    plan.learn(job.known(), job.known().length - tokens.length)
    if (decided < count) send()
  }
  const send = (): void => {
    const draft: JobState.DraftOf = (history, most) => drafter.draft(history, most)?.tokens ?? []
    const pace = plan.decide(job.known(), { loop, others: 0 })
    const next = () => job.next(agenda.nowMs, pace, draft)
    for (let window = next(); window !== undefined; window = next()) pass(window, 0)
  }
  job.begin({ epoch: 1, job: 1 })
  send()
  while (decided < count && agenda.step());
  return { tookMs: agenda.nowMs, ...sum }
}

const gain = (one: World): number => run(Draft.none, one).tookMs / run(Draft.lookup, one).tookMs

describe("guessing ahead", () => {
  test("makes an answer that repeats itself at least twice as fast over long lines", () => {
    for (const hopMs of [25, 50, 100]) expect(gain(world({ hopMs }))).toBeGreaterThan(2)
    // Windows behind each other fill stages that would wait, even where a row costs as much as a decode.
    expect(gain(world({ hopMs: 0, stages: 4, baseMs: 0, rowMs: 10, oracle: repeating(7, 1000) }))).toBeGreaterThan(2)
  })

  test("pays where a text repeats itself in part", () => {
    const half: Oracle = (history) =>
      (history.length % 100 < 50 ? repeating(5, 1000) : hashing(vocabularyTokens))(history)
    expect(gain(world({ oracle: half }))).toBeGreaterThan(1.3)
  })

  test("is left off where rows cost as much as decodes and texts are wild", () => {
    const idle = run(Draft.lookup, world({ hopMs: 0, baseMs: 0, rowMs: 10, stages: 1, oracle: hashing(3) }))
    expect(idle.drafted).toBeLessThan(40)
  })
})

describe("the plan of drafts", () => {
  const known = Int32Array.from({ length: 30 }, (_, at) => at % 3)
  /** Returns how far it goes where a row takes `rowMs` of a loop of 100 ms. */
  const paceOf = (rowMs: number, others: number): JobState.Pace => {
    const samples = [1, 2, 4, 32].map((rows) => ({ rows, ms: 100 + rowMs * (rows - 1) }))
    return DraftPlan.make({ lookup: Draft.lookup }).decide(known, { loop: { samples, ownMs: rowMs }, others })
  }

  test("goes less far where others wait for the stages", () => {
    expect(paceOf(1, 0).rows * paceOf(1, 0).windows).toBeGreaterThan(4)
    expect(paceOf(1, 3).rows * paceOf(1, 3).windows).toBeGreaterThan(2)
    expect(paceOf(40, 0).rows * paceOf(40, 0).windows).toBeGreaterThan(1)
    expect(paceOf(40, 3)).toMatchObject(JobState.still)
  })

  test("goes nowhere without a measured row, nor without a guess", () => {
    const loop = { samples: [{ rows: 30, ms: 100 }], ownMs: 1 }
    expect(DraftPlan.make({ lookup: Draft.lookup }).decide(known, { loop, others: 0 })).toMatchObject(JobState.still)
    const measured = LoopTime.observe(loop, 1, 90)
    expect(DraftPlan.make({ lookup: Draft.none }).decide(known, { loop: measured, others: 0 })).toMatchObject(
      JobState.still
    )
  })

  test("learns from what was decided whether it was guessed or not", () => {
    const samples = [1, 2].map((rows) => ({ rows, ms: 60 + 40 * rows }))
    const traffic = { loop: { samples, ownMs: 20 }, others: 0 }
    // What follows is never what followed before.
    const wild = Int32Array.from({ length: 59 }, (_, at) => (at % 3 === 2 ? at : at % 3))
    expect(DraftPlan.make({ lookup: Draft.lookup }).decide(wild, traffic)).not.toMatchObject(JobState.still)
    const plan = DraftPlan.make({ lookup: Draft.lookup })
    plan.learn(wild, 3)
    expect(plan.decide(wild, traffic)).toMatchObject(JobState.still)
  })
})

describe("the lookup", () => {
  const draft = (history: ReadonlyArray<number>, most = 4) => Draft.lookup.draft(Int32Array.from(history), most)

  test("finds what followed the longest end that there was, the most recent first", () => {
    expect(draft([1, 2, 3, 4, 5, 9, 1, 2, 3, 4])).toEqual({ tokens: [5, 9, 1, 2], evidence: 2 })
    expect(draft([3, 4, 7, 8, 3, 4, 9, 1, 3, 4], 1)).toEqual({ tokens: [9], evidence: 0 })
    expect(draft([1, 3, 4, 7, 8, 3, 4, 9, 1, 3, 4], 1)).toEqual({ tokens: [7], evidence: 1 })
    expect(draft([1, 2, 3, 4, 5])).toBeUndefined()
    expect(draft([1, 2, 3, 1])).toBeUndefined()
    expect(draft([])).toBeUndefined()
    expect(draft([1, 2, 1, 2], 0)).toBeUndefined()
  })

  test("goes on in its own guess", () => {
    expect(draft([7, 7, 7], 5)?.tokens).toEqual([7, 7, 7, 7, 7])
    expect(draft([1, 2, 3, 1, 2, 3, 1, 2], 7)?.tokens).toEqual([3, 1, 2, 3, 1, 2, 3])
  })
})

describe("the time of a loop", () => {
  test("is what was measured, on the line between two others, and no guess below all", () => {
    expect(LoopTime.expectedMs(LoopTime.none, 4)).toBeUndefined()
    const one = LoopTime.observe(LoopTime.none, 1, 100)
    expect(LoopTime.expectedMs(one, 3)).toBe(300)
    const both = LoopTime.observe(one, 101, 200)
    expect(LoopTime.expectedMs(both, 11)).toBe(110)
    expect(LoopTime.expectedMs(both, 1)).toBe(100)
    expect(LoopTime.oneRowMs(LoopTime.observe(LoopTime.none, 2, 100))).toBeUndefined()
    expect(LoopTime.expectedMs(LoopTime.observe(LoopTime.none, 100, 100), 2)).toBe(100)
  })
})
