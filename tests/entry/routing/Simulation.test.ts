/** What routing is held to, in virtual time: three peers that slow down, flap, or share the beginnings of prompts. */
import { expect } from "bun:test"
import * as Scenarios from "@weft/infra/bench/routing/Scenarios"
import { Effect } from "effect"
import { it } from "../../support/effect.ts"

const seeds = [1, 2, 3, 4, 5] as const
const policy = "predicted-ttft"

it.effect(
  "prompts that begin alike go where that beginning is: nine of ten find it, and twice as many are answered",
  () =>
    Effect.sync(() => {
      for (const seed of seeds) {
        const [own, turns] = [Scenarios.sharedPrefixes(policy, seed), Scenarios.sharedPrefixes("round-robin", seed)]
        expect([seed, own.hits]).toEqual([seed, expect.any(Number)])
        expect(own.hits).toBeGreaterThan(0.88)
        expect(own.answersPerSecond / turns.answersPerSecond).toBeGreaterThan(2)
      }
    })
)

it.effect("a peer that slows to a third loses its part within ten seconds, and has it again when it is well", () =>
  Effect.sync(() => {
    for (const seed of seeds) {
      const outcome = Scenarios.slowPeer(policy, seed)
      expect(outcome.lostAfterSeconds).toBeLessThanOrEqual(10)
      expect(outcome.shareWhileSlow).toBeLessThan(outcome.shareBefore / 3)
      expect(outcome.regainedAfterSeconds).toBeLessThanOrEqual(40)
      expect(outcome.turns).toBeLessThanOrEqual(4)
      expect(outcome.moves).toBeLessThan(outcome.conversations / 5)
    }
  })
)

it.effect("a peer that comes and goes every second costs the others nothing, and few answers lose it", () =>
  Effect.sync(() => {
    for (const seed of seeds) {
      const outcome = Scenarios.flappingPeer(policy, seed)
      expect(outcome.ttftMsP95).toBeLessThan(outcome.ttftMsP95Without * 1.3)
      expect(outcome.failedPart).toBeLessThan(0.05)
    }
  })
)

it.effect("no policy ever sends an answer to a split while a peer has the whole model", () =>
  Effect.sync(() => {
    for (const name of ["predicted-ttft", "least-loaded", "round-robin", "power-of-two"] as const) {
      const [one = 0, other = 0, split] = Scenarios.splitBeside(name, 1)
      expect([name, Math.min(one, other) > 20, split]).toEqual([name, true, 0])
    }
  })
)

it.effect("the same seed gives the same run", () =>
  Effect.sync(() => expect(Scenarios.slowPeer(policy, 7)).toEqual(Scenarios.slowPeer(policy, 7)))
)
