/** Peers in the directory, in prom-client's global register; set where the directory changes. */
import { Gauge } from "prom-client"
import type { PeerLoad } from "./PeerInfo.ts"

const peers = new Gauge({
  name: "weft_peers",
  help: "Registered peers by what they say of themselves; sessions without a registration are not in it",
  labelNames: ["state"] as const
})

/** Sets how many peers are in each state; every state is named, so that none stays at an old figure. */
export const observePeers = (counts: Readonly<Record<PeerLoad["state"], number>>): void => {
  for (const [state, count] of Object.entries(counts)) peers.set({ state }, count)
}
