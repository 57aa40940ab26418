/** The choice of threads against a simulated computer whose cores a neighbour takes and gives back. */
import { describe, expect, test } from "bun:test"
import * as ThreadGovernor from "@weft/engine/ThreadGovernor"
import { Effect, FastCheck } from "effect"
import { it } from "../support/effect.ts"

/** Represents a computer: what a decode of one row costs there, and when a neighbour has a core. */
interface Computer {
  readonly cores: number
  readonly oneRowMs: number
  /** Part of a decode that more threads do not speed up. */
  readonly serialShare: number
  /** Cores that neighbours have. */
  readonly takenAt: (nowMs: number) => number
}

/** Returns what a decode takes; a stolen core makes each of a few hundred barriers cost a time slice of 4 ms. */
const cost = ({ cores, oneRowMs, serialShare, takenAt }: Computer, rows: number, threads: number, nowMs: number) => {
  const alone = oneRowMs * (1 + (rows - 1) * 0.7)
  const shared = alone * (serialShare + (1 - serialShare) / threads)
  return threads > Math.max(1, cores - takenAt(nowMs)) ? shared + 1_600 : shared
}

interface Step {
  readonly nowMs: number
  readonly threads: number
  readonly tookMs: number
}

/** Runs decodes of one row for `forMs`; an answer to a decode that was given up is computed again on one thread. */
const run = (computer: Computer, forMs: number, rowsAt: (count: number) => number = () => 1) => {
  let state = ThreadGovernor.make(computer.cores - 1)
  const steps: Array<Step> = []
  let nowMs = 0
  while (nowMs < forMs) {
    const startedMs = nowMs
    const rows = rowsAt(steps.length)
    let order = ThreadGovernor.order(state, rows, nowMs)
    for (let givenUp = true; givenUp; order = { threads: 1, deadlineMs: undefined }) {
      const whole = cost(computer, rows, order.threads, nowMs)
      const tookMs = Math.min(whole, order.deadlineMs ?? whole)
      givenUp = order.deadlineMs !== undefined && whole > order.deadlineMs
      nowMs += tookMs
      state = ThreadGovernor.observe(state, { rows, threads: order.threads, tookMs, givenUp }, nowMs)
    }
    steps.push({ nowMs: startedMs, threads: state.threads, tookMs: nowMs - startedMs })
  }
  return { state, steps }
}

const quiet = () => 0
const speed = (steps: ReadonlyArray<Step>, fromMs: number) => {
  const late = steps.filter(({ nowMs }) => nowMs >= fromMs)
  return (late.length / late.reduce((sum, { tookMs }) => sum + tookMs, 0)) * 1000
}

const computer = FastCheck.record({
  cores: FastCheck.integer({ min: 2, max: 64 }),
  oneRowMs: FastCheck.double({ min: 5, max: 80, noNaN: true }),
  serialShare: FastCheck.double({ min: 0, max: 1, noNaN: true })
})

describe("ThreadGovernor", () => {
  it.prop(
    "never takes all cores, nor more than pay, and is no slower than one thread",
    computer,
    (given) =>
      Effect.sync(() => {
        const { state, steps } = run({ ...given, takenAt: quiet }, 20_000)
        expect(Math.max(...steps.map(({ threads }) => threads))).toBeLessThan(given.cores)
        expect(speed(steps, 10_000) * given.oneRowMs).toBeGreaterThan(950)
        // Nearly all of it serial: nothing to win.
        if (given.serialShare > 0.9) expect(state.threads).toBe(1)
      }),
    { runs: 60 }
  )

  it.prop(
    "with neighbours on any number of cores, keeps to the deadline and to most of one thread's speed",
    FastCheck.tuple(computer, FastCheck.nat(3000), FastCheck.nat(63)),
    ([given, fromMs, taken]) =>
      Effect.sync(() => {
        const takenAt = (nowMs: number) => (nowMs >= fromMs ? Math.min(taken, given.cores - 1) : 0)
        const { steps } = run({ ...given, takenAt }, 20_000)
        // A decode that is given up at three times of what one thread needs, and computed again on one.
        const worst = Math.max(...steps.map(({ tookMs }) => tookMs))
        expect(worst).toBeLessThanOrEqual(given.oneRowMs * 4.01)
        expect(speed(steps, fromMs + 1000) * given.oneRowMs).toBeGreaterThan(800)
      }),
    { runs: 60 }
  )

  test("gives cores back within a decode, and takes them again when the neighbours are gone", () => {
    const takenAt = (nowMs: number) => (nowMs >= 2_000 && nowMs < 12_000 ? 2 : 0)
    const { steps } = run({ cores: 3, oneRowMs: 10, serialShare: 0.1, takenAt }, 60_000)
    expect(steps.findLast(({ nowMs }) => nowMs < 1_990)?.threads).toBe(2)
    expect(steps.find(({ nowMs }) => nowMs >= 2_000)?.threads).toBe(1)
    // It tries again after 1 s, 2 s, 4 s: each costs one decode.
    const costly = steps.filter(({ nowMs, tookMs }) => nowMs >= 1_990 && tookMs > 30)
    expect(costly.length).toBeLessThanOrEqual(5)
    expect(steps.at(-1)?.threads).toBe(2)
  })

  test("computes prompts under a deadline of their own length", () => {
    const { steps } = run({ cores: 9, oneRowMs: 5, serialShare: 0.05, takenAt: quiet }, 20_000, (count) =>
      count % 10 === 9 ? 128 : 1
    )
    expect(steps.at(-1)?.threads).toBe(8)
  })

  test("begins with what an earlier start learnt", () => {
    const state = ThreadGovernor.make(8, { threads: 4, oneRowMs: 10 })
    expect(ThreadGovernor.order(state, 1, 0)).toEqual({ threads: 4, deadlineMs: 30 })
    expect(ThreadGovernor.order(ThreadGovernor.make(2, { threads: 4, oneRowMs: 10 }), 1, 0).threads).toBe(2)
  })
})
