/**
 * What the system says of a process that cannot speak for itself: a decode holds a host's only thread for as long as it
 * takes. Read from Linux' `/proc`; elsewhere there are no signs.
 */
import { readFileSync } from "node:fs"
import { Option } from "effect"

/** Represents a process at one moment. */
export interface ProcessSign {
  /** It computes, or waits for a disk. */
  readonly isBusy: boolean
  /** Processor time of all its threads in clock ticks, and pages that were read for it; only ever rises. */
  readonly spent: number
}

/** Returns the sign of a process; none where it is gone, and where the system gives none. */
export const read = (processId: number): ProcessSign | undefined =>
  Option.getOrUndefined(
    Option.liftThrowable(() => {
      const stat = readFileSync(`/proc/${processId}/stat`, "latin1")
      // The name before the last bracket may hold anything; the numbers are those of proc(5), less the two before it.
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
      const [pages, own, system] = [fields[9], fields[11], fields[12]]
      return { isBusy: fields[0] === "R" || fields[0] === "D", spent: Number(pages) + Number(own) + Number(system) }
    })()
  )
