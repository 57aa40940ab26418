/**
 * Many answers over one pipeline in virtual time, with an oracle in place of the model: whatever is cancelled,
 * refused or made again, each answer is what its oracle says up to its own end, and no slot is taken twice or kept.
 * The seed of a failure is printed.
 */
import { describe, expect, test } from "bun:test"
import type { PreparedRequest } from "@weft/engine/BatchLoop"
import type { GenerateEvent, GenerateRequest } from "@weft/engine/Generation"
import type { Guessing } from "@weft/engine/pipeline/JobDrafts"
import * as PipelineJobs from "@weft/engine/pipeline/PipelineJobs"
import type { Close, Failed, Open, StageFrame, Tokens, Window } from "@weft/engine/pipeline/StageFrame"
import type { StageLoop } from "@weft/engine/pipeline/StageLoop"
import { answerOf, ask } from "../asking.ts"
import { agreeing, guessing } from "./drafting.ts"
import { Agenda, hashing, type Oracle, repeating, seeded, type Tail, tail, told, vocabularyTokens } from "./tailing.ts"

const contextTokens = 300
const slots = 3
const endToken = vocabularyTokens - 1
const text = {
  vocabularyTokens,
  endsAnswer: (token: number) => token === endToken,
  piece: (token: number) => Uint8Array.of(97 + (token % 26))
}

/** A first stage that computes one window a turn and passes all frames on. */
const firstStage = (): StageLoop => {
  const frames: Array<Open | Window | Close> = []
  return {
    idle: () => frames.length === 0,
    waiting: () => frames.filter(({ kind }) => kind === "window").length,
    submit: (frame) => void frames.push(frame),
    turn: () => frames.splice(0, Math.max(1, frames.findIndex(({ kind }) => kind === "window") + 1))
  }
}

/** All stages behind the first, of one epoch. */
const laterStages = (oracle: ReturnType<typeof hashing>, epoch: number) => {
  const jobs = new Map<number, Tail>()
  return {
    jobs,
    take: (frame: StageFrame): Tokens | Failed | undefined => {
      if (frame.epoch !== epoch) throw new Error(`a frame of ${frame.epoch} in ${epoch}`)
      if (frame.kind === "open") {
        if (jobs.has(frame.job) || jobs.size >= slots) throw new Error(`job ${frame.job} takes a slot too many`)
        jobs.set(frame.job, tail(oracle, frame.terms, epoch))
      }
      if (frame.kind === "close") jobs.delete(frame.job)
      return frame.kind === "window" ? jobs.get(frame.job)?.take(frame) : undefined
    }
  }
}

interface Asked {
  readonly prepared: PreparedRequest
  readonly events: Array<GenerateEvent>
  isCancelled: boolean
}

const randomRequest = (random: () => number): PreparedRequest => {
  const below = (most: number): number => Math.floor(random() * most)
  const prompt = Array.from({ length: 1 + below(random() < 0.3 ? 280 : 20) }, () => below(vocabularyTokens))
  const stop = random() < 0.3 ? [String.fromCharCode(97 + below(26), 97 + below(26))] : []
  const changes = random() < 0.7 ? { maxTokens: 1 + below(60) } : {}
  return { request: ask({ _tag: "Tokens", tokens: prompt }, { stop, ...changes }), prompt, seed: 1 }
}

/** Returns what the answer to a request is. */
const wantedOf = (oracle: ReturnType<typeof hashing>, prompt: ReadonlyArray<number>, request: GenerateRequest) => {
  const most = Math.min(request.maxTokens ?? contextTokens, contextTokens - prompt.length)
  const all = told(oracle, prompt, most)
  const end = all.indexOf(endToken)
  const tokens = end === -1 ? all : all.slice(0, end)
  const whole = tokens.map((token) => String.fromCharCode(97 + (token % 26))).join("")
  const [stop = "-"] = request.stop
  const at = whole.indexOf(stop)
  if (at !== -1) return { text: whole.slice(0, at), tokens: tokens.slice(0, at + stop.length), finishReason: "stop" }
  return { text: whole, tokens, finishReason: end === -1 ? "length" : "stop" }
}

/** Some guess, some do not, and half of those that do have a model, good or bad, with less context or as much. */
const guessingOf = (seed: number, agenda: Agenda, oracle: Oracle): Guessing => {
  const random = seeded(seed + 77)
  if (random() < 0.3) return { speculates: false }
  if (random() < 0.4) return { speculates: true }
  const one = {
    oracle: agreeing(oracle, random()),
    slots,
    contextTokens: random() < 0.3 ? 40 : contextTokens,
    tokenMs: random() * 8
  }
  return guessing(
    one,
    () => agenda.nowMs,
    (ms) => {
      agenda.nowMs += ms
    }
  )
}

/** Runs a world of requests to their ends; returns how much of what happened. */
const run = (seed: number) => {
  const random = seeded(seed)
  const agenda = new Agenda()
  const oracle = random() < 0.5 ? hashing(vocabularyTokens) : repeating(5, 40)
  const now = () => agenda.nowMs
  const guesses = guessingOf(seed, agenda, oracle)
  const jobs = PipelineJobs.make({
    loop: firstStage(),
    text,
    slots,
    contextTokens,
    stallMs: 1e9,
    guessing: guesses,
    now
  })
  const asked: ReadonlyArray<Asked> = Array.from({ length: 8 }, () => {
    return { prepared: randomRequest(random), events: [], isCancelled: false }
  })
  const seen = { epochs: 0, refusals: 0, cancels: 0, looked: 0, made: 0, failed: 0 }
  let stages = laterStages(oracle, 0)
  let isUp = false
  const back = (frame: Tokens | Failed): void => {
    agenda.at(agenda.nowMs + 20, () => {
      jobs.receive(frame)
      turn()
    })
  }
  const arrive = (frame: StageFrame, at: typeof stages): void => {
    if (at !== stages || !isUp) return
    const answered = at.take(frame)
    if (answered === undefined) return
    const { epoch, job } = answered
    const isRefused = random() < 0.005
    if (isRefused) seen.refusals++
    back(isRefused ? { kind: "failed", epoch, job, reason: "no room" } : answered)
  }
  const turn = (): void => {
    do {
      const { events, faults, frames } = jobs.turn()
      for (const frame of frames) {
        const at = stages
        agenda.at(agenda.nowMs + 20, () => arrive(frame, at))
      }
      for (const [key, event] of events) {
        if (asked[key]?.isCancelled !== false) throw new Error(`an event of ${key}, which is cancelled`)
        asked[key].events.push(event)
      }
      if (faults.length > 0) agenda.at(agenda.nowMs + 10, connect)
      jobs.guess()
    } while (!jobs.idle())
  }
  const connect = (): void => {
    isUp = true
    stages = laterStages(oracle, ++seen.epochs)
    jobs.connect(seen.epochs)
    turn()
  }
  const breakDown = (): void => {
    isUp = false
    jobs.disconnect()
    turn()
    agenda.at(agenda.nowMs + random() * 100, connect)
  }
  const cancel = (key: number, one: Asked): void => {
    if (one.events.at(-1)?._tag !== "Finished") seen.cancels++
    one.isCancelled = true
    jobs.cancel(key)
    turn()
  }
  for (const [key, one] of asked.entries())
    agenda.at(random() * 1000, () => {
      jobs.submit(key, one.prepared)
      turn()
      if (random() < 0.2) agenda.at(agenda.nowMs + random() * 1000, () => cancel(key, one))
    })
  agenda.at(random() * 100, connect)
  if (random() < 0.5) for (let at = 0; at < 3; at++) agenda.at(random() * 3000, breakDown)
  while (agenda.step());
  for (const { events, isCancelled, prepared } of asked) {
    if (isCancelled) continue
    const { last, text: written, tokens } = answerOf(events)
    if (last?._tag === "Failed") seen.failed++
    if (last?._tag === "Failed") continue
    const wanted = wantedOf(oracle, prepared.prompt, prepared.request)
    expect({ text: written, tokens: [...tokens] }).toEqual({ text: wanted.text, tokens: [...wanted.tokens] })
    const usage = { promptTokens: prepared.prompt.length, completionTokens: wanted.tokens.length, cachedTokens: 0 }
    expect(last).toEqual({ _tag: "Finished", finishReason: wanted.finishReason === "stop" ? "stop" : "length", usage })
    expect(events[0]?._tag).toBe("Started")
  }
  if (isUp && stages.jobs.size > 0) throw new Error(`${stages.jobs.size} jobs are left`)
  const { lookup, model } = jobs.stats()
  seen.looked += lookup.accepted
  seen.made += model?.accepted ?? 0
  return seen
}

describe("the answers of a pipeline", () => {
  test("are what their oracle says, whatever is cancelled, refused or made again", () => {
    const sum = { epochs: 0, refusals: 0, cancels: 0, looked: 0, made: 0, failed: 0 }
    const seeds = 1000
    for (let seed = 0; seed < seeds; seed++) {
      const seen = tryRun(seed)
      for (const name of Object.keys(sum) as ReadonlyArray<keyof typeof sum>) sum[name] += seen[name]
    }
    expect(sum.epochs).toBeGreaterThan(2 * seeds)
    expect(sum.refusals).toBeGreaterThan(seeds / 5)
    expect(sum.cancels).toBeGreaterThan(seeds / 2)
    expect(sum.looked).toBeGreaterThan(seeds)
    expect(sum.made).toBeGreaterThan(seeds / 2)
    // Only who is refused again and again without a token in between is given up.
    expect(sum.failed).toBeLessThan(seeds / 100)
  }, 120_000)

  test("that nothing is heard of are told of once, where something is under way and no stage says it works", () => {
    const agenda = new Agenda()
    const options = {
      loop: firstStage(),
      text,
      slots,
      contextTokens,
      guessing: { speculates: false },
      now: () => agenda.nowMs
    }
    const jobs = PipelineJobs.make({ ...options, stallMs: 500 })
    const faultsAt = (nowMs: number, isWorking = false) => {
      agenda.nowMs = nowMs
      jobs.look(isWorking)
      return jobs.turn().faults.length
    }
    jobs.connect(1)
    expect(faultsAt(1e6)).toBe(0)
    jobs.submit(0, { request: ask({ _tag: "Tokens", tokens: [1, 2] }), prompt: [1, 2], seed: 1 })
    expect(jobs.turn().frames.map(({ kind }) => kind)).toEqual(["open", "window"])
    // Nothing was measured yet: the stages may be slow, and say so.
    for (let atMs = 400; atMs <= 100_000; atMs += 400) expect(faultsAt(1e6 + atMs, true)).toBe(0)
    expect(faultsAt(1e6 + 100_400)).toBe(0)
    expect(faultsAt(1e6 + 100_600)).toBe(1)
    expect(faultsAt(1e6 + 900_000)).toBe(0)
    jobs.connect(2)
    expect(faultsAt(1e6 + 900_400)).toBe(0)
    expect(faultsAt(1e6 + 901_000)).toBe(1)
    jobs.cancel(0)
    jobs.connect(3)
    expect(faultsAt(1e9)).toBe(0)
    // The second one waits for its turn in the first stage, and nobody else keeps it waiting.
    for (const key of [1, 2])
      jobs.submit(key, { request: ask({ _tag: "Tokens", tokens: [1] }, { maxTokens: 1 }), prompt: [1], seed: 1 })
    expect(jobs.turn().frames.map(({ job, kind }) => `${kind} ${job}`)).toEqual(["open 2", "open 3", "window 2"])
    const place = { epoch: 3, job: 2, round: 0, window: 0, position: 0 }
    jobs.receive({ kind: "tokens", ...place, drawn: 1, tokens: Int32Array.of(5) })
    expect(faultsAt(2e9)).toBe(0)
    expect(faultsAt(2e9 + 600)).toBe(1)
  })

  test("that a stage claims to work on are not waited for without end, and less long where such were measured", () => {
    const agenda = new Agenda()
    const options = {
      loop: firstStage(),
      text,
      slots,
      contextTokens,
      guessing: { speculates: false },
      now: () => agenda.nowMs
    }
    const jobs = PipelineJobs.make({ ...options, stallMs: 500 })
    /** Returns after how long a window is given up that one stage claims for ever to work on. */
    const givenUpAfterMs = () => {
      const beginMs = agenda.nowMs
      while (jobs.turn().faults.length === 0) {
        agenda.nowMs += 250
        jobs.look(true)
      }
      return agenda.nowMs - beginMs
    }
    jobs.connect(1)
    jobs.submit(0, { request: ask({ _tag: "Tokens", tokens: [1] }), prompt: [1], seed: 1 })
    jobs.turn()
    const unmeasuredMs = givenUpAfterMs()
    expect(unmeasuredMs).toBeLessThan(300_000)
    jobs.connect(2)
    jobs.turn()
    agenda.nowMs += 40
    const place = { epoch: 2, job: 1, round: 0, window: 0, position: 0 }
    jobs.receive({ kind: "tokens", ...place, drawn: 1, tokens: Int32Array.of(5) })
    jobs.turn()
    const measuredMs = givenUpAfterMs()
    expect(measuredMs).toBeLessThan(unmeasuredMs / 2)
  })
})

const tryRun = (seed: number) => {
  try {
    return run(seed)
  } catch (error) {
    throw new Error(`seed ${seed}: ${error}`)
  }
}
