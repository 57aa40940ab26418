/** What the system says of a process: its memory and the processor time it has used. */
import { existsSync, readFileSync } from "node:fs"

/** Returns the resident bytes of a process, NaN where it is gone. */
export const residentBytes = (pid: number): number => {
  if (existsSync("/proc/self/status")) {
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/status`))?.[1] ?? Number.NaN) * 1024
  }
  const { stdout } = Bun.spawnSync(["ps", "-o", "rss=", "-p", String(pid)])
  return Number(stdout.toString().trim() || Number.NaN) * 1024
}

/** Returns the milliseconds of all processors that a process has used, in steps of 10; NaN where /proc is missing. */
export const processorMs = (pid: number): number => {
  // Fields 14 and 15 of proc_pid_stat(5), counted behind the name in brackets, in hundredths of a second.
  const fields = read(`/proc/${pid}/stat`).split(") ").at(-1)?.split(" ") ?? []
  return (Number(fields[11] ?? Number.NaN) + Number(fields[12] ?? Number.NaN)) * 10
}

// internal

const read = (path: string): string => (existsSync(path) ? readFileSync(path, "utf8") : "")
