/**
 * What a stage does with windows that come late, twice, too early or spoilt, and with hosts that ask for too much: what
 * is stale is dropped, what is wrong fails its own job and no other.
 */
import { describe, expect } from "bun:test"
import type { Close, JobTerms, Open, StageFrame, Window } from "@weft/engine/pipeline/StageFrame"
import type { StageLoop } from "@weft/engine/pipeline/StageLoop"
import { promptRowsMax } from "@weft/engine/pipeline/StageWindow"
import { Effect } from "effect"
import { it } from "../../support/effect.ts"
import { greedy } from "../asking.ts"
import { line, openLoop, slots } from "./looping.ts"
import { contextTokens, cut, task, warm } from "./staging.ts"

const width = 256

/** Returns a stage of a model that is cut in the middle. */
const stage = (index: 0 | 1, quantization: "Q4_K_M" | "F16" = "Q4_K_M") =>
  Effect.flatMap(cut(quantization, [3]), ({ stages }) => {
    const file = stages[index]
    return file === undefined ? Effect.dieMessage("no stage") : openLoop(file)
  })

const opening = (job: number, changes: Partial<JobTerms> = {}, epoch = 1): Open => ({
  kind: "open",
  epoch,
  job,
  terms: { seed: 5, sampling: greedy, promptTokens: 4, contextTokens, ...changes }
})

const windowOf = (tokens: ReadonlyArray<number>, changes: Partial<Window> = {}): Window => ({
  kind: "window",
  epoch: 1,
  job: 0,
  round: 0,
  window: 0,
  position: 0,
  drawn: 0,
  tokens: Int32Array.from(tokens),
  hidden: undefined,
  ...changes
})

const prompt = [1, 20, 30, 40]

/** Hidden states that no model minds. */
const hiddenOf = (rows: number) => Float32Array.from({ length: rows * width }, (_, at) => Math.sin(at))

/** Submits frames and turns until nothing is left; returns what came out. */
const all = (loop: StageLoop, ...frames: ReadonlyArray<Open | Window | Close>): ReadonlyArray<StageFrame> => {
  for (const frame of frames) loop.submit(frame)
  const out: Array<StageFrame> = []
  while (!loop.idle()) out.push(...loop.turn().map(copied))
  return out
}

/** Hidden states hold until the next turn. */
const copied = (frame: StageFrame): StageFrame =>
  frame.kind === "window" ? { ...frame, hidden: frame.hidden?.slice() } : frame

const kinds = (frames: ReadonlyArray<StageFrame>) => frames.map(({ job, kind }) => `${kind} ${job}`)
const reason = (frames: ReadonlyArray<StageFrame>) =>
  frames.flatMap((frame) => (frame.kind === "failed" ? [frame.reason] : [])).join()

describe("a window", () => {
  it.live("of a prompt that nothing is drawn from is answered by the tail without a token", () =>
    Effect.gen(function* () {
      const loop = yield* stage(1)
      const inner = windowOf(prompt.slice(0, 2), { hidden: hiddenOf(2) })
      const [answered] = all(loop, opening(0), inner)
      const { drawn, epoch, job, position, round, window } = inner
      const tokens = new Int32Array(0)
      expect(answered).toEqual({ kind: "tokens", epoch, job, round, window, position, drawn, tokens })
    })
  )

  it.live("at an earlier place takes back what was computed behind it", () =>
    Effect.gen(function* () {
      const loop = yield* stage(0)
      all(loop, opening(0), windowOf(prompt))
      const answer = windowOf([50, 60, 70], { position: 4, drawn: 1 })
      const [first] = all(loop, answer)
      const [other] = all(loop, windowOf([51, 61], { position: 4, drawn: 1 }))
      const [again] = all(loop, answer)
      expect(again).toEqual(first)
      expect(other).not.toMatchObject({ hidden: first?.kind === "window" ? first.hidden?.subarray(0, 2 * width) : [] })
      // The whole once more, from the first token on.
      expect(all(loop, windowOf(prompt), answer).at(-1)).toEqual(first)
    })
  )

  it.live("that changes tokens of the answer is drawn from as if they had been there from the start", () =>
    Effect.gen(function* () {
      const { stages } = yield* cut("Q4_K_M", [3])
      const { received, send } = yield* line(stages)
      const { prompt: long, seed } = task(promptRowsMax + 2, 7)
      const terms = { seed, sampling: warm, promptTokens: long.length, contextTokens }
      const begin = (job: number) => {
        send(opening(job, terms))
        send(windowOf(long.slice(0, promptRowsMax), { job }))
        send(windowOf(long.slice(promptRowsMax), { job, position: promptRowsMax, drawn: 1 }))
      }
      const tokensOf = (frame: StageFrame) => (frame.kind === "tokens" ? [...frame.tokens] : [])
      begin(0)
      const drawn = [...tokensOf(yield* received)]
      while (drawn.length < 12) {
        send(windowOf([drawn.at(-1) ?? 0], { position: long.length + drawn.length - 1, drawn: 1 }))
        drawn.push(...tokensOf(yield* received))
      }
      // The sixth is another; what followed the fifth is forgotten with it.
      const other = ((drawn[5] ?? 0) + 1) % 1000
      send(windowOf([other], { position: long.length + 5, drawn: 1 }))
      const changed = tokensOf(yield* received)
      begin(1)
      yield* received
      send(windowOf([...drawn.slice(0, 5), other], { job: 1, position: long.length, drawn: 1 }))
      expect(tokensOf(yield* received)).toEqual(changed)
      // And back: the draw is where it was.
      send(windowOf(drawn.slice(5, 7), { position: long.length + 5, drawn: 1 }))
      expect(tokensOf(yield* received)).toEqual(drawn.slice(7, 8))
    })
  )

  it.live("of an older round or pipeline is dropped, computed or not", () =>
    Effect.gen(function* () {
      const loop = yield* stage(0)
      all(loop, opening(0, {}, 3), windowOf(prompt, { epoch: 3 }))
      const late = windowOf([50], { epoch: 3, position: 4, window: 1 })
      const next = { ...late, round: 1, window: 0 }
      // The first waits when the second comes.
      expect(all(loop, late, next)).toMatchObject([{ kind: "window", round: 1 }])
      expect(all(loop, late)).toEqual([])
      expect(all(loop, opening(1, {}, 2), { ...next, epoch: 2 }, { kind: "close", epoch: 2, job: 0 })).toEqual([])
      // A newer pipeline takes all slots over.
      const newer = Array.from({ length: slots }, (_, job) => opening(job, {}, 4))
      expect(kinds(all(loop, ...newer))).toEqual(newer.map(({ job }) => `open ${job}`))
      expect(all(loop, next)).toEqual([])
    })
  )

  it.live("that leaves a gap fails its job and no other", () =>
    Effect.gen(function* () {
      const loop = yield* stage(0)
      const other = windowOf(prompt, { job: 1 })
      const out = all(loop, opening(0), opening(1), windowOf(prompt), windowOf([50], { position: 5 }), other)
      expect(kinds(out).toSorted()).toEqual(["failed 0", "open 0", "open 1", "window 0", "window 1"])
      expect(reason(out)).toMatch(/^position: 5 leaves a gap behind 4/)
      // It stays so until it is closed; a job of that number is then as good as any.
      expect(all(loop, windowOf([50], { position: 4 }))).toEqual([])
      expect(kinds(all(loop, { kind: "close", epoch: 1, job: 0 }, opening(0), windowOf(prompt)))).toEqual([
        "close 0",
        "open 0",
        "window 0"
      ])
    })
  )

  it.live("with a hidden value that is not finite fails its job", () =>
    Effect.gen(function* () {
      const loop = yield* stage(1)
      for (const [job, value] of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY].entries()) {
        const hidden = hiddenOf(4)
        hidden[700] = value
        const out = all(loop, opening(0, {}, job + 1), windowOf(prompt, { epoch: job + 1, hidden }))
        expect(reason(out)).toBe("elements: a hidden value is not finite")
      }
    })
  )

  it.live("that breaks a bound fails its job and says by which field", () =>
    Effect.gen(function* () {
      const first = yield* stage(0)
      const last = yield* stage(1)
      let epoch = 1
      const fault = (loop: StageLoop, changes: Partial<Window>, terms: Partial<JobTerms> = {}) => {
        epoch++
        return reason(all(loop, opening(0, terms, epoch), windowOf(prompt, { ...changes, epoch }))).split(":")[0]
      }
      const long = new Int32Array(200).fill(20)
      expect(fault(first, { position: contextTokens - 4 })).toBe("position")
      expect(fault(first, { tokens: long.subarray(0, 129) }, { promptTokens: 300 })).toBe("rows")
      expect(fault(first, { tokens: long.subarray(0, 5) })).toBe("rows")
      expect(fault(first, { tokens: long.subarray(0, 64), position: 4 })).toBe("rows")
      expect(fault(first, { drawn: 2 })).toBe("drawn")
      expect(fault(first, { tokens: Int32Array.of(1, 1024, 2, 3) })).toBe("tokens")
      expect(fault(first, { hidden: hiddenOf(4) })).toBe("element")
      expect(fault(last, {})).toBe("element")
      expect(fault(last, { hidden: hiddenOf(2) })).toBe("width")
      expect(fault(last, { tokens: Int32Array.of(1, 1024, 2, 3), hidden: hiddenOf(4) })).toBe("tokens")
    })
  )

  it.live("more than the context can hold is not waited with", () =>
    Effect.gen(function* () {
      const loop = yield* stage(0)
      loop.submit(opening(0, { contextTokens: 64 }))
      for (let count = 0; count < 20; count++) loop.submit(windowOf(prompt))
      expect(loop.waiting()).toBe(0)
      expect(reason(loop.turn())).toBe("68 rows wait, more than the context holds")
    })
  )
})

describe("a job", () => {
  it.live("that is not open, or opened on terms that no slot can hold, fails", () =>
    Effect.gen(function* () {
      const loop = yield* stage(1)
      const fault = (terms: Partial<JobTerms>) => reason(all(loop, opening(9, terms)))
      expect(reason(all(loop, windowOf(prompt)))).toMatch(/not open/)
      expect(fault({ contextTokens: contextTokens + 1 })).toMatch(/^contextTokens is 513/)
      expect(fault({ promptTokens: contextTokens })).toMatch(/^promptTokens is 512/)
      expect(fault({ sampling: { ...greedy, logitBias: [[1024, 1]] } })).toMatch(/names token 1024/)
      const openings = Array.from({ length: slots + 1 }, (_, job) => opening(job))
      expect(reason(all(loop, ...openings))).toBe("all 4 slots are taken")
      expect(all(loop, { kind: "close", epoch: 1, job: 2 }, opening(slots))).toEqual([])
    })
  )

  it.live("computes beside others in one decode, and prompts take turns with answers", () =>
    Effect.gen(function* () {
      const loop = yield* stage(0)
      for (let job = 0; job < slots; job++) all(loop, opening(job), windowOf(prompt, { job }))
      const answers = [3, 0, 2].map((job) => windowOf([50, 60], { job, position: 4, drawn: 1 }))
      const alone = answers.map((window) => all(loop, window)[0])
      for (const window of answers) loop.submit(window)
      for (let count = 0; count < 2; count++) loop.submit(windowOf(prompt, { job: 1 }))
      expect(kinds(loop.turn())).toEqual(["window 1"])
      const together = loop.turn().map(copied)
      expect(kinds(together)).toEqual(["window 0", "window 2", "window 3"])
      expect(together).toEqual(alone.flatMap((frame) => frame ?? []).toSorted((one, other) => one.job - other.job))
      expect(kinds(loop.turn())).toEqual(["window 1"])
      expect(loop.idle()).toBe(true)
    })
  )

  it.live("takes windows that were sent before the draws of those before them were known", () =>
    Effect.gen(function* () {
      const { stages } = yield* cut("F16", [1, 4])
      const { received, send } = yield* line(stages)
      const one = windowOf(prompt, { drawn: 1 })
      send(opening(0))
      send(one)
      const tokens: Array<number> = []
      for (let at = 4; at < 12; at++) {
        const frame = yield* received
        tokens.push(...(frame.kind === "tokens" ? frame.tokens : []))
        send(windowOf(tokens.slice(-1), { position: at, drawn: 1 }))
      }
      yield* received
      send(opening(1))
      send({ ...one, job: 1 })
      for (const [index, token] of tokens.entries())
        send(windowOf([token], { job: 1, position: 4 + index, drawn: 1, window: 1 + index }))
      const again: Array<number> = []
      for (let at = 0; at < 8; at++) {
        const frame = yield* received
        again.push(...(frame.kind === "tokens" ? frame.tokens : []))
      }
      expect(again).toEqual(tokens)
    })
  )
})
