/**
 * What the process takes of its machine, under the names that Prometheus' own clients give; in prom-client's global
 * register, read when scraped. Engine hosts are processes of their own and not in it.
 */
import { readdirSync } from "node:fs"
import { Effect, Either } from "effect"
import { Counter, Gauge, register } from "prom-client"

const openFiles = (): number =>
  Either.getOrElse(
    Either.try(() => readdirSync("/proc/self/fd").length),
    // Only Linux says.
    () => 0
  )

const make = (): void => {
  new Gauge({ name: "process_start_time_seconds", help: "When the process began, in seconds since 1970" }).set(
    performance.timeOrigin / 1_000
  )
  new Counter({
    name: "process_cpu_seconds_total",
    help: "Processor time of the process, its children's left out",
    collect() {
      const { system, user } = process.cpuUsage()
      this.reset()
      this.inc((system + user) / 1e6)
    }
  })
  new Gauge({
    name: "process_resident_memory_bytes",
    help: "Memory of the process that is in RAM, its children's left out",
    collect() {
      this.set(process.memoryUsage.rss())
    }
  })
  new Gauge({
    name: "process_open_fds",
    help: "Files and sockets that the process holds open",
    collect() {
      this.set(openFiles())
    }
  })
}

/** Adds the metrics to the register, once a process. */
export const observeProcess: Effect.Effect<void> = Effect.sync(() => {
  if (register.getSingleMetric("process_start_time_seconds") === undefined) make()
})
