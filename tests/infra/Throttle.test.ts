/** Processes that are held up: when, by the manner and the seed, and that a real one is, and goes on afterwards. */
import { expect } from "bun:test"
import * as Seeded from "@weft/infra/bench/Seeded"
import * as DutyCycle from "@weft/infra/throttle/DutyCycle"
import * as Throttle from "@weft/infra/throttle/Throttle"
import { Effect, FastCheck } from "effect"
import { it } from "../support/effect.ts"
import { start } from "../support/processes.ts"

const share = FastCheck.double({ min: 0, max: 1, noNaN: true })
const elapsed = FastCheck.double({ min: 0, max: 10_000, noNaN: true })

it.prop(
  "a steady turn has its part of pauses, and a ramp comes to it and stays",
  FastCheck.tuple(share, elapsed),
  (drawn) =>
    Effect.sync(() => {
      const [pausedShare, elapsedMs] = drawn
      const partOf = (manner: DutyCycle.Manner, atMs: number): number => {
        const { pauseMs, runMs } = DutyCycle.turn(manner, atMs, Seeded.make(1))
        expect(Math.min(pauseMs, runMs)).toBeGreaterThanOrEqual(0)
        return pauseMs / (pauseMs + runMs)
      }
      expect(partOf({ kind: "steady", pausedShare }, elapsedMs)).toBeCloseTo(pausedShare)
      const ramp = { kind: "ramp", pausedShare, overMs: 5_000 } as const
      expect(partOf(ramp, 0)).toBe(0)
      expect(partOf(ramp, elapsedMs)).toBeCloseTo(pausedShare * Math.min(1, elapsedMs / 5_000))
    })
)

it.prop(
  "staggered turns keep to the clock that they share, however late each begins",
  FastCheck.tuple(FastCheck.double({ min: 0, max: 0.99, noNaN: true }), share, elapsed),
  (drawn) =>
    Effect.sync(() => {
      const [phase, pausedShare, elapsedMs] = drawn
      const manner = { kind: "staggered", pausedShare, phase } as const
      const { pauseMs, runMs } = DutyCycle.turn(manner, elapsedMs, Seeded.make(1))
      expect(Math.min(pauseMs, runMs)).toBeGreaterThanOrEqual(0)
      // The next one begins where its phase says, and has all of its run.
      const turns = (elapsedMs + runMs + pauseMs) / 40 - phase
      expect(turns - Math.round(turns)).toBeCloseTo(0)
      const next = DutyCycle.turn(manner, elapsedMs + runMs + pauseMs + 1e-6, Seeded.make(1))
      expect(next.pauseMs).toBeCloseTo(40 * pausedShare, 3)
    })
)

it.prop("uneven turns keep between their bounds, and are the same for the same seed", FastCheck.integer(), (seed) =>
  Effect.sync(() => {
    const turns = (seed: number) => {
      const chance = Seeded.make(seed)
      return Array.from({ length: 20 }, () => DutyCycle.turn({ kind: "jitter", leastMs: 20, mostMs: 200 }, 0, chance))
    }
    for (const { pauseMs, runMs } of turns(seed)) {
      expect(Math.min(pauseMs, runMs)).toBeGreaterThanOrEqual(20)
      expect(Math.max(pauseMs, runMs)).toBeLessThanOrEqual(200)
    }
    expect(turns(seed)).toEqual(turns(seed))
    expect(turns(seed)).not.toEqual(turns(seed + 1))
  })
)

/** Says when it was held up for the third time, which its own clock shows. */
const ticking = `
  let [last, held] = [performance.now(), 0]
  console.log(JSON.stringify({ event: "ticks" }))
  setInterval(() => {
    const now = performance.now()
    if (now - last > 90 && ++held === 3) console.log(JSON.stringify({ event: "held" }))
    last = now
  }, 5)`

it.live("a process is held up while the scope is open and no longer, and one that is gone does not matter", () =>
  Effect.gen(function* () {
    const child = yield* start(["-e", ticking])
    const gone = yield* start(["-e", ""])
    yield* gone.process.exitCode
    yield* child.event("ticks")
    const throttled = Effect.gen(function* () {
      const processIds = [gone, child].map((program) => Number(program.process.pid))
      const throttle = yield* Throttle.make(processIds, { kind: "jitter", leastMs: 100, mostMs: 120 }, 1)
      yield* child.event("held")
      expect(throttle.pauses()).toBeGreaterThanOrEqual(3)
      expect(throttle.longestMs()).toBeGreaterThanOrEqual(99)
      // Ended within a pause, as who is stopped hears of nothing else.
      yield* Effect.repeat(Effect.sleep("1 millis"), { until: () => throttle.pauses() > 3 })
    })
    yield* Effect.scoped(throttled)
    yield* child.process.kill("SIGTERM")
  })
)
