/** Every peer in turn, whatever it has to do: what the others are compared with. Pure. */
import { least, type Policy } from "../Policy.ts"

/** Chooses who was chosen longest ago. */
export const roundRobin: Policy = {
  name: "round-robin",
  readsPrompts: false,
  choose: (candidates) => ({
    candidate: least(candidates, (a, b) => a.lastChosenMs - b.lastChosenMs || (a.peer < b.peer ? -1 : 1)),
    explanation: { rule: candidates.length === 1 ? "only" : "turn", candidates: candidates.length }
  })
}
