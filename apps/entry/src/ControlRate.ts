/**
 * How often one link may call the entry. Pure: two leaky buckets (https://en.wikipedia.org/wiki/Leaky_bucket), one for
 * what reaches the directory and one for everything. `MeshListener.ts` keeps one per link.
 */

/** Represents how full the buckets of one link were at `atMs`, in calls. */
export interface ControlRate {
  readonly passed: number
  readonly called: number
  readonly atMs: number
}

/** Represents what to do with a call: let it through, answer it without the directory, or end the session. */
export type Verdict = "Pass" | "Hold" | "Flood"

/** Four times what a peer sends, so that beats which a slow line delivers together still pass. */
export const passedPerSecond = 4
/** Fifty times what a peer sends: no fault of a line or of a clock makes an honest one call as often. */
export const calledPerSecond = 50
/** As many calls may come at once as in this time. */
const burstSeconds = { passed: 1, called: 2 } as const

/** Returns empty buckets. */
export const make = (now: number): ControlRate => ({ passed: 0, called: 0, atMs: now })

/** Judges one more call; a clock that steps back drains nothing. */
export const call = (rate: ControlRate, now: number): readonly [Verdict, ControlRate] => {
  const seconds = Math.max(0, now - rate.atMs) / 1_000
  const passed = Math.max(0, rate.passed - seconds * passedPerSecond)
  const called = Math.max(0, rate.called - seconds * calledPerSecond) + 1
  if (called > calledPerSecond * burstSeconds.called) return ["Flood", { passed, called: called - 1, atMs: now }]
  const passes = passed + 1 <= passedPerSecond * burstSeconds.passed
  return [passes ? "Pass" : "Hold", { passed: passes ? passed + 1 : passed, called, atMs: now }]
}
