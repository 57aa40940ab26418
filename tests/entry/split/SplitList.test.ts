/** What a client reads of the splits. */
import { expect } from "bun:test"
import * as SplitState from "@weft/entry/split/SplitState"
import { Effect } from "effect"
import { it } from "../../support/effect.ts"
import { isEmptyAndKeyed } from "../listing.ts"
import { open, send } from "../support.ts"
import { model, peer } from "./lending.ts"

it.live("/api/splits shows each split, its stages and why every peer has its part", () =>
  Effect.gen(function* () {
    const models = [model("big", [1, 2, 3])]
    const [[action], looked] = SplitState.look(SplitState.empty, models, { forceSplit: false, group: "g1" }, 0)
    if (action?._tag !== "Form") throw new Error("no group")
    const { host } = action.group
    const splits = SplitState.told(looked, "g1", { _tag: "Forming", peer: host, state: "loading", fraction: 0.5 }, 1)
    const { url } = yield* open({ splits })
    const { json, status } = yield* send(`${url}/api/splits`)
    expect(status).toBe(200)
    const [split] = json.data
    expect(split).toMatchObject({ model: "big", failures: 0, group: { id: "g1", state: "forming", epoch: 0 } })
    expect(split.group.stages[0]).toEqual({ peer: host, from: 0, to: 3, state: "loading", fraction: 0.5 })
    expect(split.peers.map((one: { peer: string }) => one.peer)).toEqual([1, 2, 3].map(peer))
    for (const one of split.peers) expect(one.why).toMatch(/^[A-Z].*\.$/)
  }).pipe(Effect.scoped)
)

it.live("without a split the list is empty, and where keys are needed it needs one", () =>
  isEmptyAndKeyed("/api/splits")
)
