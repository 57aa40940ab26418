/** What the peers of pipelines count; one registry for the process, served with the peer's own figures. */
import { Counter, Gauge } from "prom-client"

/** Counts the streams on which hosts asked for a stage; minus `leasesEnded` they are those that live. */
export const leases = new Counter({ name: "weft_split_leases_total", help: "Stages that hosts asked this peer for" })

/** Counts the ends of leases; `released` is the good one. */
export const leasesEnded = new Counter({
  name: "weft_split_leases_ended_total",
  help: "Leases of stages that ended, by reason",
  labelNames: ["reason"] as const
})

/** Shows the groups that this peer hosts, as `phases` says them. */
export const observeGroups = (phases: () => ReadonlyArray<string>): void => {
  hosted.phases = phases
}
const hosted: { phases: () => ReadonlyArray<string> } = { phases: () => [] }
new Gauge({
  name: "weft_split_groups",
  help: "Pipelines that this peer hosts, by state",
  labelNames: ["state"] as const,
  collect() {
    this.reset()
    for (const state of ["forming", "serving", "healing"])
      this.set({ state }, hosted.phases().filter((phase) => phase === state).length)
  }
})

const failures = new Counter({
  name: "weft_split_failures_total",
  help: "What went wrong in pipelines that this peer hosts, by reason",
  labelNames: ["reason"] as const
})

/** Counts what happens to a group where that went wrong, by its tag. */
export const countFailure = (happening: string): void => {
  const reason = failureReasons[happening]
  if (reason !== undefined) failures.inc({ reason })
}
const failureReasons: Readonly<Record<string, string>> = {
  Refused: "refused",
  Lost: "lost",
  Parted: "parted",
  Faulted: "faulted"
}

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
