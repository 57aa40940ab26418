/** What the peers of pipelines count; one registry for the process, served with the peer's own figures. */
import { Counter, Gauge } from "prom-client"
import type { Edge } from "./PipelineProtocol.ts"

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

/** Notes a frame of so many bytes that was handed to an edge or taken from one; `to` is the edge's own direction. */
export const passed = (way: Way, to: Edge["to"], frameBytes: number): void => {
  const sum = sums[way][to]
  sum.frames++
  sum.bytes += frameBytes
}

/** Notes a turn of a stage in which it computed a single row. */
export const stepped = (seconds: number): void => {
  steps.count++
  steps.seconds += seconds
}

/** Counts the bytes of `frames`. */
export const bytes = new Counter({
  name: "weft_split_bytes_total",
  help: "Bytes of stage frames over edges",
  labelNames: ["way", "to"] as const,
  collect() {
    this.reset()
    forEachWay((way, to) => this.inc({ way, to }, sums[way][to].bytes))
  }
})

// internal

type Way = "sent" | "received"

/**
 * Plain sums, which the counters take over when they are read: a frame's way has room for one addition, not for the
 * search of its labels.
 */
const sums: Readonly<Record<Way, Readonly<Record<Edge["to"], { frames: number; bytes: number }>>>> = {
  sent: { next: { frames: 0, bytes: 0 }, host: { frames: 0, bytes: 0 } },
  received: { next: { frames: 0, bytes: 0 }, host: { frames: 0, bytes: 0 } }
}
const steps = { count: 0, seconds: 0 }

const forEachWay = (tell: (way: Way, to: Edge["to"]) => void): void => {
  for (const way of ["sent", "received"] as const) for (const to of ["next", "host"] as const) tell(way, to)
}

new Counter({
  name: "weft_split_frames_total",
  help: "Stage frames over edges",
  labelNames: ["way", "to"] as const,
  collect() {
    this.reset()
    forEachWay((way, to) => this.inc({ way, to }, sums[way][to].frames))
  }
})
new Counter({
  name: "weft_split_steps_total",
  help: "Turns in which a stage of this peer computed a single row",
  collect() {
    this.reset()
    this.inc(steps.count)
  }
})
new Counter({
  name: "weft_split_step_seconds_total",
  help: "Seconds that a stage of this peer computed single rows",
  collect() {
    this.reset()
    this.inc(steps.seconds)
  }
})
