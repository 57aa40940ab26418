/** When a peer speaks to its entry: what is new at once, what stays the same seldom. */
import { expect } from "bun:test"
import type { PeerLoad } from "@weft/mesh/PeerInfo"
import * as Heartbeats from "@weft/peer/Heartbeats"
import { Effect, FastCheck } from "effect"
import { it } from "../support/effect.ts"

const load = (active: number): PeerLoad => ({
  state: "ready",
  models: [{ id: "tiny", ready: true, active, queued: 0 }]
})

/** Returns which of the looks at `loads` are said. */
const said = (loads: ReadonlyArray<number>): ReadonlyArray<boolean> => {
  let heartbeats: Heartbeats.Heartbeats
  return loads.map((active) => {
    const [isSaid, next] = Heartbeats.look(heartbeats, load(active))
    heartbeats = next
    return isSaid
  })
}

it.effect("the same load is said at once and then at every fifth look", () =>
  Effect.sync(() => {
    const looks = said(Array.from({ length: 11 }, () => 0))
    expect(looks.flatMap((isSaid, index) => (isSaid ? [index] : []))).toEqual([0, 5, 10])
  })
)

it.effect("a change is said at the look that sees it, and the entry never goes five looks without a word", () =>
  Effect.sync(() =>
    FastCheck.assert(
      FastCheck.property(FastCheck.array(FastCheck.integer({ min: 0, max: 2 }), { minLength: 1 }), (loads) => {
        const looks = said(loads)
        let known: number | undefined
        let silent = 0
        for (const [index, active] of loads.entries()) {
          if (looks[index]) known = active
          silent = looks[index] ? 0 : silent + 1
          expect(known).toBe(active)
          expect(silent).toBeLessThan(Heartbeats.sameLoadLooks)
        }
      })
    )
  )
)
