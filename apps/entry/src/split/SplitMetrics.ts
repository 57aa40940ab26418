/** What the splits count, on prom-client's global register; one look at the state when somebody scrapes. */
import { Gauge } from "prom-client"
import { empty, type GroupPhase, type SplitState } from "./SplitState.ts"

/** Makes `state` what the gauges show; of several entries in one process the last one's. */
export const observe = (state: () => SplitState): void => {
  shown = state
}

// internal

let shown = (): SplitState => empty

const phases: ReadonlyArray<GroupPhase> = ["forming", "serving", "broken"]

new Gauge({
  name: "weft_models_split",
  help: "Models that are split among peers, by how far they are.",
  labelNames: ["state"] as const,
  collect() {
    const all = [...shown().groups.values()]
    for (const phase of phases) this.set({ state: phase }, all.filter((group) => group.phase === phase).length)
  }
})

new Gauge({
  name: "weft_split_peers_struck_off",
  help: "Peers that get no stages for a while, as they failed one.",
  collect() {
    this.set(shown().struckOff.size)
  }
})
