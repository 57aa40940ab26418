/**
 * A job in virtual time against an oracle of its tokens, thousands of times with other delays, drafts and breaks: it
 * gives the oracle's tokens and no others, whatever is late, lost, doubled or stale. The seed of a failure is printed.
 */
import { describe, expect, test } from "bun:test"
import * as JobState from "@weft/engine/pipeline/JobState"
import type { Tokens, Window } from "@weft/engine/pipeline/StageFrame"
import { promptRowsMax } from "@weft/engine/pipeline/StageWindow"
import { greedy } from "../asking.ts"
import { Agenda, hashing, type Oracle, repeating, seeded, tail, told, vocabularyTokens } from "./tailing.ts"

const seeds = 4000

/** Represents one run: what is answered, and how much goes wrong on the way. */
interface World {
  readonly oracle: Oracle
  readonly prompt: ReadonlyArray<number>
  readonly resumed: ReadonlyArray<number>
  readonly count: number
  readonly pace: () => JobState.Pace
  readonly draft: JobState.DraftOf
  readonly breakShare: number
  readonly random: () => number
}

const worldOf = (seed: number): World => {
  const random = seeded(seed)
  const below = (most: number): number => Math.floor(random() * most)
  const oracle = random() < 0.5 ? hashing(1 + below(vocabularyTokens)) : repeating(1 + below(9), 2 + below(30))
  const prompt = Array.from({ length: 1 + below(random() < 0.2 ? 700 : 40) }, () => below(vocabularyTokens))
  const count = 1 + below(60)
  const resumed = told(oracle, prompt, random() < 0.3 ? below(count) : 0)
  const paces = [
    { rows: 1, windows: 1 },
    { rows: 1 + below(32), windows: 1 + below(8) }
  ]
  const right = random()
  // Drafts that are right now and then, of any length.
  const draft: JobState.DraftOf = (history, most) => {
    const ahead = [...history]
    for (let at = below(most + 1); at > 0; at--) ahead.push(random() < right ? oracle(ahead) : below(vocabularyTokens))
    return ahead.slice(history.length)
  }
  const pace = () => paces[below(2)] ?? JobState.still
  return { oracle, prompt, resumed, count, pace, draft, breakShare: random() < 0.5 ? 0 : 0.05, random }
}

interface Run {
  readonly tokens: ReadonlyArray<number>
  readonly epochs: number
  readonly accepted: number
  readonly rejections: number
  readonly windows: number
}

const run = (world: World): Run => {
  const { breakShare, count, draft, oracle, pace, prompt, random, resumed } = world
  const agenda = new Agenda()
  const job = JobState.make({ prompt, resumed, tokensMax: count, vocabularyTokens })
  const terms = { seed: 1, sampling: greedy, promptTokens: prompt.length, contextTokens: prompt.length + count }
  const tokens = [...resumed]
  const old: Array<Tokens> = []
  const seen = { epochs: 0, accepted: 0, rejections: 0, windows: 0 }
  let stages = tail(oracle, terms, 0)
  let arriveMs = 0
  const begin = (): void => {
    stages = tail(oracle, terms, ++seen.epochs)
    job.begin({ epoch: seen.epochs, job: 7 })
    // A connection that is new does not wait for the one that is gone.
    arriveMs = agenda.nowMs
    send()
  }
  const give = (frame: Tokens): void => {
    const { accepted, dropped, fault, tokens: decided } = job.received(frame, agenda.nowMs)
    if (fault !== undefined) throw new Error(fault)
    tokens.push(...decided)
    seen.accepted += accepted
    seen.rejections += dropped > 0 ? 1 : 0
    if (tokens.length < count) send()
  }
  const arrive = (window: Window): void => {
    // The frames of stages that are gone still come; they know of windows that were sent before.
    const frame = stages.take(window)
    if (frame === undefined) return
    arriveMs = Math.max(arriveMs, agenda.nowMs + random() * 30)
    agenda.at(arriveMs, () => give(frame))
    old.push(frame)
    const again = old[Math.floor(random() * old.length)]
    if (again !== undefined && random() < 0.2) agenda.at(arriveMs, () => give(again))
  }
  let outMs = 0
  const send = (): void => {
    for (let window = job.next(agenda.nowMs, pace(), draft); window; window = job.next(agenda.nowMs, pace(), draft)) {
      const sent = window
      seen.windows++
      outMs = Math.max(outMs, agenda.nowMs + random() * 30)
      agenda.at(outMs, () => arrive(sent))
    }
    if (random() >= breakShare) return
    job.pause()
    agenda.at(agenda.nowMs + random() * 100, begin)
  }
  begin()
  while (tokens.length < count && agenda.step());
  return { tokens, ...seen }
}

describe("a job", () => {
  test("gives the tokens of its oracle, whatever is late, lost, doubled or stale", () => {
    const sum = { epochs: 0, accepted: 0, rejections: 0, windows: 0 }
    for (let seed = 0; seed < seeds; seed++) {
      const world = worldOf(seed)
      const wanted = told(world.oracle, world.prompt, world.count)
      const result = tryRun(seed, world)
      if (result.tokens.join() !== wanted.join())
        throw new Error(`seed ${seed}: ${result.tokens.join()} instead of ${wanted.join()}`)
      sum.epochs += result.epochs
      sum.accepted += result.accepted
      sum.rejections += result.rejections
    }
    // All of it happened, and often.
    expect(sum.epochs).toBeGreaterThan(1.5 * seeds)
    expect(sum.accepted).toBeGreaterThan(5 * seeds)
    expect(sum.rejections).toBeGreaterThan(seeds)
  }, 120_000)

  test("sends its prompt in canonical chunks, a few at once, and draws from the last row alone", () => {
    const chunk = promptRowsMax
    const prompt = Array.from({ length: 5 * chunk + 60 }, (_, at) => at % vocabularyTokens)
    const job = started({ prompt })
    const windows = all(job)
    expect(windows.map(({ position, tokens }) => [position, tokens.length])).toEqual([
      [0, chunk],
      [chunk, chunk],
      [2 * chunk, chunk],
      [3 * chunk, chunk]
    ])
    expect(windows.map(({ drawn }) => drawn)).toEqual([0, 0, 0, 0])
    for (const window of windows) expect(job.received(answerTo(window, []), 1)).toMatchObject({ fault: undefined })
    expect(all(job).map(({ drawn, position, tokens }) => [position, tokens.length, drawn])).toEqual([
      [4 * chunk, chunk, 0],
      [5 * chunk, 60, 1]
    ])
  })

  test("that begins anew sends its prompt as before and its answer in small chunks, and goes on behind it", () => {
    const job = started({ prompt: [1, 2, 3], tokensMax: 100, resumed: Array.from({ length: 40 }, (_, at) => at % 9) })
    const places = (windows: ReadonlyArray<Window>) =>
      windows.map(({ drawn, position, tokens }) => [position, tokens.length, drawn])
    const first = all(job)
    expect(places(first)).toEqual([
      [0, 3, 0],
      [3, 32, 0],
      [35, 8, 1]
    ])
    for (const window of first) job.received(answerTo(window, window.drawn > 0 ? [5] : []), 1)
    expect(places(all(job))).toEqual([[43, 1, 1]])
    job.pause()
    expect(all(job)).toEqual([])
    job.begin({ epoch: 2, job: 1 })
    expect(places(all(job))).toEqual([
      [0, 3, 0],
      [3, 32, 0],
      [35, 9, 1]
    ])
  })

  test("sends windows of drafts behind each other, and forgets those behind a wrong one", () => {
    const job = started({ prompt: [1, 2, 3] })
    const [prompt] = all(job, { rows: 4, windows: 1 })
    if (prompt === undefined) throw new Error("no window")
    job.received(answerTo(prompt, [4]), 1)
    const counting: JobState.DraftOf = (history, most) =>
      Array.from({ length: most }, (_, at) => history.length + at + 1)
    const windows = all(job, { rows: 3, windows: 3 }, counting)
    expect(windows.map(({ drawn, position, tokens }) => [position, drawn, ...tokens])).toEqual([
      [3, 3, 4, 5, 6],
      [6, 3, 7, 8, 9],
      [9, 3, 10, 11, 12]
    ])
    const [one, two, three] = windows
    if (one === undefined || two === undefined || three === undefined) throw new Error("no window")
    expect(job.received(answerTo(one, [5, 6, 7]), 2)).toMatchObject({ tokens: [5, 6, 7], accepted: 3, dropped: 0 })
    expect(job.received(answerTo(two, [8, 30]), 2)).toMatchObject({ tokens: [8, 30], accepted: 1, dropped: 1 })
    expect(job.received(answerTo(three, [11]), 2)).toMatchObject({ tokens: [], answered: undefined, fault: undefined })
    expect(all(job)).toMatchObject([{ round: 1, window: 0, position: 8, tokens: Int32Array.of(30) }])
  })

  test("never asks for more tokens than the answer may have", () => {
    const job = started({ prompt: [1, 2, 3], tokensMax: 4 })
    const [prompt] = all(job)
    if (prompt === undefined) throw new Error("no window")
    job.received(answerTo(prompt, [4]), 1)
    const sixes: JobState.DraftOf = (_, most) => Array.from({ length: most }, () => 6)
    expect(all(job, { rows: 32, windows: 8 }, sixes)).toMatchObject([{ position: 3, drawn: 3 }])
  })

  test("finds fault with a tail that says what does not fit", () => {
    const faultOf = (changes: Partial<Tokens>, tokens: ReadonlyArray<number> = [5, 6, 9]) => {
      const job = started({ prompt: [1, 2, 3] })
      const [prompt] = all(job)
      if (prompt === undefined) throw new Error("no window")
      job.received(answerTo(prompt, [4]), 1)
      const [window] = all(job, { rows: 3, windows: 1 }, () => [5, 6])
      if (window === undefined) throw new Error("no window")
      return job.received({ ...answerTo(window, tokens), ...changes }, 2).fault
    }
    expect(faultOf({})).toBeUndefined()
    expect(faultOf({ position: 4 })).toContain("at 4")
    expect(faultOf({ round: 1 })).toContain("round 1")
    expect(faultOf({ window: 2 })).toContain("window 2")
    expect(faultOf({ drawn: 2 })).toContain("drawn")
    expect(faultOf({}, [])).toContain("0 tokens")
    expect(faultOf({}, [5, 6, 9, 9])).toContain("4 tokens")
    expect(faultOf({}, [5, 7, 9])).toContain("behind a draft that is wrong")
    expect(faultOf({}, [5, 6])).toContain("behind a draft that is right")
    expect(faultOf({}, [5, vocabularyTokens])).toContain(`token ${vocabularyTokens}`)
    expect(faultOf({ epoch: 3 })).toBeUndefined()
  })
})

const tryRun = (seed: number, world: World): Run => {
  try {
    return run(world)
  } catch (error) {
    throw new Error(`seed ${seed}: ${error}`)
  }
}

const started = (options: Partial<JobState.JobOptions>): JobState.JobState => {
  const job = JobState.make({ prompt: [1], resumed: [], tokensMax: 50, vocabularyTokens, ...options })
  job.begin({ epoch: 1, job: 1 })
  return job
}

const all = (
  job: JobState.JobState,
  pace = JobState.still,
  draft: JobState.DraftOf = () => []
): ReadonlyArray<Window> => {
  const windows: Array<Window> = []
  for (let next = job.next(0, pace, draft); next !== undefined; next = job.next(0, pace, draft)) windows.push(next)
  return windows
}

const answerTo = ({ drawn, epoch, job, position, round, window }: Window, tokens: ReadonlyArray<number>): Tokens => ({
  kind: "tokens",
  epoch,
  job,
  round,
  window,
  position,
  drawn,
  tokens: Int32Array.from(tokens)
})
