/** Who answered, on prom-client's global register: read from the counts of the entry at each scrape. */
import { Effect, type Scope } from "effect"
import { Counter, Gauge } from "prom-client"
import type { ShareOfTime, ShareState } from "./ShareState.ts"

/** Represents the counts of one entry. */
export interface Shown {
  readonly totals: () => ShareState["totals"]
  readonly summary: () => { readonly day: ShareOfTime; readonly week: ShareOfTime }
}

/** Shows these counts for the time of the scope. */
export const observe = (counts: Shown): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      shown = counts
    }),
    () =>
      Effect.sync(() => {
        if (shown === counts) shown = undefined
      })
  )

// internal

let shown: Shown | undefined

new Counter({
  name: "weft_served_total",
  help:
    "Requests that reached the gate, at their end, by who answered; refused: their client got an error. Who left " +
    "before there was an answer is in none, and more models than an hour may have are other.",
  labelNames: ["model", "served_by"] as const,
  collect() {
    this.reset()
    for (const { model, requests, servedBy } of shown?.totals() ?? []) {
      this.inc({ model, served_by: servedBy }, requests)
    }
  }
})

new Gauge({
  name: "weft_mesh_share_ratio",
  help: "The mesh's part of the requests that were answered within the window; absent where none was.",
  labelNames: ["window"] as const,
  collect() {
    this.reset()
    const { day, week } = shown?.summary() ?? {}
    for (const [window, time] of [["24h", day] as const, ["7d", week] as const]) {
      const pct = time?.mesh_share_pct ?? undefined
      if (pct !== undefined) this.set({ window }, pct / 100)
    }
  }
})
