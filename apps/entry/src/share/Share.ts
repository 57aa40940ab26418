/** Who answered how many requests: read by the status page, written at the end of each request. */
import { Context, type Effect } from "effect"

/** Represents the requests of a time. */
export interface ShareOfTime {
  readonly requests: number
  readonly mesh: number
  readonly fallback: number
  /** 0 to 100, of those that were answered. */
  readonly mesh_share_pct: number
}

/** Represents an hour of one model. */
export interface ShareHour {
  readonly hourMs: number
  readonly model: string
  readonly servedBy: "mesh" | "fallback" | "refused"
  readonly requests: number
  readonly tokens: number
}

/** Counts who answered. */
export class Share extends Context.Tag("@weft/entry/Share")<
  Share,
  {
    readonly summary: Effect.Effect<{ readonly day: ShareOfTime; readonly week: ShareOfTime }>
    /** Returns the last `count` hours. */
    readonly hours: (model: string | undefined, count: number) => Effect.Effect<ReadonlyArray<ShareHour>>
  }
>() {}
