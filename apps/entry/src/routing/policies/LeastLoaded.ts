/** The peer with the smallest share of its slots in use; of those the nearest, then who waited longest. Pure. */
import { type Candidate, least, type Policy, rttStepOf, useOf } from "../Policy.ts"

/** Looks at load and distance alone. */
export const leastLoaded: Policy = {
  name: "least-loaded",
  readsPrompts: false,
  choose: (candidates) => ({
    candidate: least(candidates, compareLoad),
    explanation: { rule: candidates.length === 1 ? "only" : "idlest", candidates: candidates.length }
  })
}

/** Orders candidates by load, distance and time without work; ids decide at last, so that the order is total. */
export const compareLoad = (a: Candidate, b: Candidate): number => useOf(a) - useOf(b) || compareIdle(a, b)

/** Orders candidates that are as busy. */
export const compareIdle = (a: Candidate, b: Candidate): number =>
  rttStepOf(a) - rttStepOf(b) || a.lastChosenMs - b.lastChosenMs || (a.peer < b.peer ? -1 : 1)
