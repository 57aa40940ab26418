/** What the splits count, on prom-client's global register. */
import { Gauge } from "prom-client"
import type { GroupPhase, SplitState } from "./SplitState.ts"

const groups = new Gauge({
  name: "weft_models_split",
  help: "Models that are split among peers, by how far they are.",
  labelNames: ["state"] as const
})

const struckOff = new Gauge({
  name: "weft_split_peers_struck_off",
  help: "Peers that get no stages for a while, as they failed one."
})

const phases: ReadonlyArray<GroupPhase> = ["forming", "serving", "broken"]

/** Shows the state as it is now. */
export const observe = (state: SplitState): void => {
  const all = [...state.groups.values()]
  for (const phase of phases) groups.set({ state: phase }, all.filter((group) => group.phase === phase).length)
  struckOff.set(state.struckOff.size)
}
