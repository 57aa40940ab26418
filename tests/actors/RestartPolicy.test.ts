/** The decisions of a supervisor, without a supervisor: tables, and invariants over generated failures. */
import { expect, test } from "bun:test"
import { affected, decide, defaults, startsAgain } from "@weft/actors/RestartPolicy"
import { Duration, Effect, Exit, FastCheck } from "effect"
import { it } from "../support/effect.ts"

/** Feeds failures at the given times; returns the delays until the policy is used up. */
const delaysMs = (timesMs: ReadonlyArray<number>): ReadonlyArray<number> => {
  const delays: Array<number> = []
  let history: ReadonlyArray<number> = []
  for (const nowMs of timesMs) {
    const decision = decide(defaults, history, nowMs)
    if (decision._tag === "Escalate") return delays
    delays.push(Duration.toMillis(decision.delay))
    history = decision.restartsAtMs
  }
  return delays
}

test("a crash loop is borne 5 times, each wait twice the last, and escalates at the 6th failure", () => {
  expect(delaysMs([0, 1, 2, 3, 4, 5, 6])).toEqual([200, 400, 800, 1600, 3200])
})

test("a crash each 13 s is borne for ever", () => {
  expect(delaysMs(Array.from({ length: 500 }, (_, n) => n * 13_000)).length).toBe(500)
})

test("no wait is longer than backoffMax", () => {
  const policy = { ...defaults, intensity: 100 }
  const decision = decide(
    policy,
    Array.from({ length: 99 }, () => 0),
    1
  )
  expect(decision._tag === "Restart" && Duration.toMillis(decision.delay)).toBe(10_000)
})

it.prop(
  "never more than `intensity` restarts in any period, and a first failure is always borne",
  FastCheck.array(FastCheck.nat(40_000), { maxLength: 60 }),
  (gapsMs) =>
    Effect.sync(() => {
      let nowMs = 0
      let history: ReadonlyArray<number> = []
      const restarts: Array<number> = []
      for (const gapMs of gapsMs) {
        nowMs += gapMs
        const decision = decide(defaults, history, nowMs)
        const recent = restarts.filter((atMs) => nowMs - atMs < 60_000).length
        expect(decision._tag).toBe(recent < 5 ? "Restart" : "Escalate")
        if (decision._tag === "Escalate") continue
        restarts.push(nowMs)
        history = decision.restartsAtMs
        expect(history.length).toBeLessThanOrEqual(defaults.intensity)
      }
    })
)

test("who starts again: it alone, all, or it and those after it", () => {
  const children = ["a", "b", "c"]
  expect(affected("one_for_one", children, "b")).toEqual(["b"])
  expect(affected("one_for_all", children, "b")).toEqual(["a", "b", "c"])
  expect(affected("rest_for_one", children, "b")).toEqual(["b", "c"])
  expect(affected("rest_for_one", children, "gone")).toEqual([])
})

test("permanent starts again always, transient after a failure, temporary never; an interruption is no failure", () => {
  const exits = [Exit.void, Exit.fail("e"), Exit.die("d"), Effect.runSyncExit(Effect.interrupt)]
  expect(exits.map((exit) => startsAgain("permanent", exit))).toEqual([true, true, true, true])
  expect(exits.map((exit) => startsAgain("transient", exit))).toEqual([false, true, true, false])
  expect(exits.map((exit) => startsAgain("temporary", exit))).toEqual([false, false, false, false])
})
