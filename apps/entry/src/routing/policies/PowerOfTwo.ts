/**
 * The less busy of two that are drawn: nearly as even as to ask all, and entries that know the same of the mesh do not
 * all run to the same peer (Mitzenmacher 2001). Pure.
 */
import { drawTwo, least, type Policy } from "../Policy.ts"
import { compareLoad } from "./LeastLoaded.ts"

/** Draws two and looks at their load. */
export const powerOfTwo: Policy = {
  name: "power-of-two",
  readsPrompts: false,
  choose: (candidates, _ask, { turn }) => {
    const [first] = candidates
    const [one = first, other = first] = candidates.length === 1 ? [] : drawTwo(candidates, turn)
    return {
      candidate: least([one, other], compareLoad),
      explanation: { rule: candidates.length === 1 ? "only" : "drawn", candidates: candidates.length }
    }
  }
}
