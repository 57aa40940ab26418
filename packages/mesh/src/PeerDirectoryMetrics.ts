/** Peers of the directory and what they serve, in prom-client's global register; read when scraped. */
import { Counter, Gauge } from "prom-client"
import { empty, type PeerDirectory, serving, slotsServing } from "./PeerDirectory.ts"

/** The directory of this process, and what to read it with. */
const source = { current: (): PeerDirectory => empty }

/** Makes `current` what the gauges show. */
export const observeDirectory = (current: () => PeerDirectory): void => {
  source.current = current
}

new Gauge({
  name: "weft_peers",
  help: "Registered peers by what they say of themselves; sessions without a registration are not in it",
  labelNames: ["state"] as const,
  collect() {
    const counts = { ready: 0, draining: 0 }
    for (const { load } of source.current().peers.values()) counts[load.state]++
    for (const [state, count] of Object.entries(counts)) this.set({ state }, count)
  }
})

new Gauge({
  name: "weft_model_peers",
  help: "Peers that take requests for a model now; 0 for one that was served and is not any more",
  labelNames: ["model"] as const,
  collect() {
    this.reset()
    const directory = source.current()
    for (const model of directory.models.keys()) this.set({ model }, serving(directory, model).length)
  }
})

new Gauge({
  name: "weft_model_slots",
  help: "Answers that the peers of a model give at once; compare with its requests in flight",
  labelNames: ["model"] as const,
  collect() {
    this.reset()
    const directory = source.current()
    for (const model of directory.models.keys()) this.set({ model }, slotsServing(directory, model))
  }
})

/** Counts registrations by how they ended; one peer that comes and goes counts each time. */
const registrations = new Counter({
  name: "weft_peer_registrations_total",
  help: "Registrations of peers by result; each new link of a peer brings one",
  labelNames: ["result"] as const
})
for (const result of ["accepted", "DirectoryFull", "StaleLink"]) registrations.inc({ result }, 0)

/** Counts a registration that was accepted, or refused for a reason. */
export const registrationEnded = (result: "accepted" | "DirectoryFull" | "StaleLink"): void =>
  registrations.inc({ result })

/** Counts peers that went, by why: each that was accepted goes once, unless it is still there or registers anew. */
const departures = new Counter({
  name: "weft_peer_departures_total",
  help: "Peers that went: with their link, or because they were silent for too long",
  labelNames: ["why"] as const
})
for (const why of ["link", "silence"]) departures.inc({ why }, 0)

/** Counts `count` peers that went. */
export const departed = (why: "link" | "silence", count: number): void => departures.inc({ why }, count)
