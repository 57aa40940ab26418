/** What the peers of pipelines count; one registry for the process, served with the peer's own figures. */
import { Counter, Gauge } from "prom-client"

/** Counts the leases of stages that this peer gave; minus `leasesEnded` they are those that live. */
export const leases = new Counter({ name: "weft_split_leases_total", help: "Stages that were reserved at this peer" })

/** Counts the ends of leases; `released` is the good one. */
export const leasesEnded = new Counter({
  name: "weft_split_leases_ended_total",
  help: "Leases of stages that ended, by reason",
  labelNames: ["reason"] as const
})

/** Shows the groups that this peer hosts. */
export const groups = new Gauge({
  name: "weft_split_groups",
  help: "Pipelines that this peer hosts, by state",
  labelNames: ["state"] as const
})

/** Counts what went wrong in groups that this peer hosts. */
export const failures = new Counter({
  name: "weft_split_failures_total",
  help: "What went wrong in pipelines that this peer hosts, by reason",
  labelNames: ["reason"] as const
})

/** Counts frames that were handed to an edge or taken from one; `to` is the edge's own direction. */
export const frames = new Counter({
  name: "weft_split_frames_total",
  help: "Stage frames over edges",
  labelNames: ["way", "to"] as const
})

/** Counts the bytes of `frames`. */
export const bytes = new Counter({
  name: "weft_split_bytes_total",
  help: "Bytes of stage frames over edges",
  labelNames: ["way", "to"] as const
})
