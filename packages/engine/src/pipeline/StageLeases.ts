/**
 * Which jobs of a stage somebody still drives, as a pure state: a host or a peer before this one can vanish without a
 * `close`, and its slots must not stay taken. Every frame of a job renews its lease.
 */
import type { JobName, Peeked } from "./StageFrame.ts"

/** Represents the open jobs of the latest pipeline. */
export interface StageLeases {
  readonly epoch: number
  /** When each job was heard of last, in milliseconds. */
  readonly heardMs: ReadonlyMap<number, number>
}

/** No job is open. */
export const none: StageLeases = { epoch: 0, heardMs: new Map() }

/**
 * Returns the state after a frame on its way to the stage. Jobs beyond `slots` are not counted, as the stage refuses
 * them.
 */
export const hear = (leases: StageLeases, frame: Peeked, slots: number, nowMs: number): StageLeases => {
  const { epoch, job, kind } = frame
  if (epoch < leases.epoch) return leases
  const isOpening = kind === "open"
  if (epoch > leases.epoch) return isOpening ? { epoch, heardMs: new Map([[job, nowMs]]) } : leases
  const isKnown = leases.heardMs.has(job)
  if (!isKnown && !(isOpening && leases.heardMs.size < slots)) return leases
  const heardMs = new Map(leases.heardMs)
  if (kind === "close") heardMs.delete(job)
  else heardMs.set(job, nowMs)
  return { epoch, heardMs }
}

/** Returns the jobs that nobody was heard of for `leaseMs`. */
export const expired = ({ epoch, heardMs }: StageLeases, leaseMs: number, nowMs: number): ReadonlyArray<JobName> =>
  [...heardMs].flatMap(([job, ms]) => (nowMs - ms >= leaseMs ? [{ epoch, job }] : []))
