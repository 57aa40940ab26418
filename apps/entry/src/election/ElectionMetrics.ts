/**
 * What the elections decided and how peers took it, on prom-client's global register; plain sums and one look at the
 * state when somebody scrapes. Labels are roles, reasons and kinds of lease, never peers or models.
 */
import type { RefusalReason, Role } from "@weft/mesh/election/ElectionProtocol"
import { type ElectionState, empty, isLeased } from "@weft/mesh/election/ElectionState"
import { Counter, Gauge } from "prom-client"

/** Makes `state` what the gauges show; of several elections in one process the last one's. */
export const observe = (state: () => ElectionState, nowMs: () => number): void => {
  source.state = state
  source.nowMs = nowMs
}

/** Counts what a look decided anew. */
export const decided = (before: ElectionState, after: ElectionState): void => {
  for (const [peer, { assignments, changedAtMs }] of after) {
    const known = before.get(peer)
    if (assignments.length > 0 && assignments !== known?.assignments) sums.decisions++
    if (changedAtMs !== (known?.changedAtMs ?? 0)) sums.moves++
  }
}

/** Counts an order that a peer did not follow, once however often the peer says it. */
export const refused = (reason: RefusalReason): void => void sums.refusals[reason]++

// internal

const source = { state: (): ElectionState => empty, nowMs: (): number => 0 }

const sums: { decisions: number; moves: number; readonly refusals: Record<RefusalReason, number> } = {
  decisions: 0,
  moves: 0,
  refusals: { StaleEpoch: 0, EpochReused: 0, LeasedElsewhere: 0, NotRequested: 0, Memory: 0 }
}

new Counter({
  name: "weft_elections_total",
  help: "Decisions what a peer is for its models that differ from the one before, a peer's first one included.",
  collect() {
    this.reset()
    this.inc(sums.decisions)
  }
})

new Counter({
  name: "weft_election_moves_total",
  help: "Decisions that changed which models a peer serves; a part of weft_elections_total.",
  collect() {
    this.reset()
    this.inc(sums.moves)
  }
})

new Counter({
  name: "weft_election_refusals_total",
  help: "Orders that a peer did not follow, by its reason; LeasedElsewhere and StaleEpoch pass by themselves.",
  labelNames: ["reason"] as const,
  collect() {
    this.reset()
    for (const [reason, count] of Object.entries(sums.refusals)) this.inc({ reason }, count)
  }
})

new Gauge({
  name: "weft_election_roles",
  help: "Models of electing peers by what the peer is for them, one for each model of each peer.",
  labelNames: ["role"] as const,
  collect() {
    const counts: Record<Role, number> = { worker: 0, standby: 0, dropped: 0 }
    for (const { assignments } of source.state().values()) for (const { role } of assignments) counts[role]++
    for (const [role, count] of Object.entries(counts)) this.set({ role }, count)
  }
})

new Gauge({
  name: "weft_election_peers",
  help: "Peers whose models are elected among, by whose order they follow: this entry's, another's, or nobody's yet.",
  labelNames: ["lease"] as const,
  collect() {
    const counts = { here: 0, elsewhere: 0, none: 0 }
    const now = source.nowMs()
    for (const elected of source.state().values()) {
      const isElsewhere = elected.elsewhere !== undefined && now < elected.elsewhere.untilMs
      counts[isElsewhere ? "elsewhere" : isLeased(elected, now) ? "here" : "none"]++
    }
    for (const [lease, count] of Object.entries(counts)) this.set({ lease }, count)
  }
})
