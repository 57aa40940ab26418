/** Whom each policy chooses: the order of preference case by case, and what holds for all of them. */
import { expect } from "bun:test"
import { policies } from "@weft/entry/routing/Policies"
import type { Candidate } from "@weft/entry/routing/Policy"
import { Effect, FastCheck } from "effect"
import { peerId } from "../../mesh/peers.ts"
import { it } from "../../support/effect.ts"
import { asked, candidate, paceOf } from "./candidates.ts"

type Some = readonly [Candidate, ...ReadonlyArray<Candidate>]
const chosen = (name: keyof typeof policies, candidates: Some, ask = asked(0), turn = 0, nowMs = 1_000) => {
  const { candidate, explanation } = policies[name].choose(candidates, ask, { turn }, nowMs)
  return [candidates.findIndex(({ peer }) => peer === candidate.peer), explanation.rule] as const
}

it.effect("least-loaded: the idlest, then the nearest, then the one that waited longest", () =>
  Effect.sync(() => {
    const by = (...candidates: Some) => chosen("least-loaded", candidates)[0]
    expect(by(candidate(1, { inFlight: 1 }), candidate(2, { rttMs: 300 }))).toBe(1)
    expect(by(candidate(1, { elsewhere: 1 }), candidate(2, { rttMs: 300 }))).toBe(1)
    expect(by(candidate(1, { inFlight: 2, slots: 8 }), candidate(2, { inFlight: 1, slots: 2 }))).toBe(0)
    expect(by(candidate(1, { rttMs: 180 }), candidate(2, { rttMs: 20, lastChosenMs: 9 }))).toBe(1)
    expect(by(candidate(1, { rttMs: 1, lastChosenMs: 9 }), candidate(2, { rttMs: 2 }))).toBe(1)
    expect(by(candidate(1, { rttMs: undefined }), candidate(2, { rttMs: 900 }))).toBe(1)
  })
)

it.effect("round-robin asks each in turn; power-of-two takes the idler of two, and all are drawn", () =>
  Effect.sync(() => {
    expect(chosen("round-robin", [candidate(1, { lastChosenMs: 5 }), candidate(2, { inFlight: 3 })])).toEqual([
      1,
      "turn"
    ])
    const four: Some = [candidate(0, { inFlight: 3 }), candidate(1), candidate(2), candidate(3)]
    const drawn = Array.from({ length: 200 }, (_, turn) => chosen("power-of-two", four, asked(0), turn)[0])
    expect(new Set(drawn)).toEqual(new Set([1, 2, 3]))
  })
)

it.effect("predicted-ttft: who has the prompt's beginning, who is faster, who has less before it, who is nearer", () =>
  Effect.sync(() => {
    const pace = paceOf(2)
    const by = (...candidates: Some) => chosen("predicted-ttft", candidates, asked(640))
    expect(by(candidate(1, { pace }), candidate(2, { pace, cached: 10, inFlight: 3 }))).toEqual([1, "fastest"])
    expect(by(candidate(1, { pace: paceOf(6) }), candidate(2, { pace, inFlight: 2 }))).toEqual([1, "fastest"])
    expect(by(candidate(1, { pace, aheadTokens: 900 }), candidate(2, { pace, inFlight: 3 }))).toEqual([1, "fastest"])
    expect(by(candidate(1, { pace, elsewhere: 6 }), candidate(2, { pace }))).toEqual([1, "fastest"])
    expect(by(candidate(1, { pace, rttMs: 900 }), candidate(2, { pace, inFlight: 3 }))).toEqual([1, "fastest"])
    expect(by(candidate(1, { pace, inFlight: 1 }), candidate(2, { pace }))).toEqual([1, "idlest"])
    // Of the prompt that is computed now the most part is done; who is late with it is not done.
    const halfway = { pace, inFlight: 1, aheadTokens: 1_600, computes: { tokens: 1_600, sinceMs: -2_000 } }
    expect(by(candidate(1, halfway), candidate(2, { pace, aheadTokens: 320 }))).toEqual([0, "fastest"])
    const late = { ...halfway, aheadTokens: 3_200, computes: { tokens: 1_600, sinceMs: -9_000 } }
    expect(by(candidate(1, late), candidate(2, { pace, aheadTokens: 320 }))).toEqual([1, "fastest"])
    // A prompt that waits for a second tells more than what was measured before it.
    const stuck = { pace, waitsSinceMs: -4_000 }
    expect(by(candidate(1, stuck), candidate(2, { pace, inFlight: 3 }))).toEqual([1, "fastest"])
    expect(by(candidate(1, stuck))).toEqual([0, "only"])
  })
)

it.effect("a conversation stays where it was until somebody is clearly better", () =>
  Effect.sync(() => {
    const by = (other: Partial<Candidate>, own: Partial<Candidate>) =>
      chosen("predicted-ttft", [candidate(1, other), candidate(2, own)], asked(640, 2))
    const pace = paceOf(2)
    expect(by({ pace }, { pace, inFlight: 3, lastChosenMs: 9 })).toEqual([1, "conversation"])
    expect(by({ pace }, { pace: paceOf(3), inFlight: 3 })).toEqual([1, "conversation"])
    expect(by({ pace }, { pace: paceOf(6) })).toEqual([0, "fastest"])
    expect(chosen("predicted-ttft", [candidate(1, { pace })], asked(640, 2))).toEqual([0, "only"])
  })
)

it.effect("a peer that nobody asked for long is tried with one request, and others stay away meanwhile", () =>
  Effect.sync(() => {
    const fresh = (nowMs: number) => ({ ...paceOf(1), measuredMs: nowMs })
    const old = { ...paceOf(9), believedForMs: 10_000 }
    const at = (nowMs: number, waitsSinceMs?: number) =>
      chosen(
        "predicted-ttft",
        [
          candidate(1, { pace: fresh(nowMs), lastChosenMs: nowMs }),
          candidate(2, { pace: old, waitsSinceMs, inFlight: waitsSinceMs === undefined ? 0 : 1 })
        ],
        asked(640),
        0,
        nowMs
      )[0]
    expect([at(9_000), at(11_000), at(11_000, 10_990)]).toEqual([0, 1, 0])
  })
)

const anyCandidate = (number: number) =>
  FastCheck.record({
    slots: FastCheck.integer({ min: 1, max: 8 }),
    inFlight: FastCheck.nat(8),
    elsewhere: FastCheck.nat(8),
    rttMs: FastCheck.option(FastCheck.nat(500), { nil: undefined }),
    lastChosenMs: FastCheck.nat(1_000),
    pace: FastCheck.tuple(FastCheck.nat(9), FastCheck.nat(900)).map(([perToken, fixed]) => paceOf(perToken, fixed)),
    aheadTokens: FastCheck.nat(5_000),
    waitsSinceMs: FastCheck.option(FastCheck.nat(1_000), { nil: undefined }),
    cached: FastCheck.nat(10)
  }).map((changes) => candidate(number, changes))

it.prop(
  "every policy chooses one of those it was given, says why, and chooses the same for the same",
  FastCheck.record({
    candidates: FastCheck.integer({ min: 1, max: 6 }).chain((count) =>
      FastCheck.tuple(anyCandidate(0), ...Array.from({ length: count - 1 }, (_, at) => anyCandidate(at + 1)))
    ),
    tokens: FastCheck.nat(700),
    lastPeer: FastCheck.option(FastCheck.nat(5), { nil: undefined }),
    turn: FastCheck.nat(100_000)
  }),
  ({ candidates, lastPeer, tokens, turn }) =>
    Effect.sync(() => {
      const [first, ...others] = candidates
      for (const [name, policy] of Object.entries(policies)) {
        const ask = asked(tokens, lastPeer)
        const choice = policy.choose([first, ...others], ask, { turn }, 1_000)
        expect(policy.name).toBe(name)
        expect(candidates).toContain(choice.candidate)
        expect(choice.explanation.candidates).toBe(candidates.length)
        expect(choice.explanation.rule === "only").toBe(candidates.length === 1)
        if (choice.explanation.rule === "conversation") expect(choice.candidate.peer).toBe(peerId(lastPeer ?? -1))
        expect(policy.choose([first, ...others], ask, { turn }, 1_000)).toEqual(choice)
      }
    })
)
