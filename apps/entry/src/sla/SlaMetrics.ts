/** What the gate said, on prom-client's global register; plain sums until somebody scrapes. */
import { Counter } from "prom-client"
import { type SlaStatus, slaStatuses, type Verdict } from "./Gate.ts"
import { type TierName, tierNames } from "./Tier.ts"

/** Counts the verdict that goes out with one answer. */
export const judged = ({ status, tier }: Verdict): void => {
  sums[tier][status]++
}

// internal

const none = (): Record<SlaStatus, number> => ({
  "meets-sla": 0,
  "no-peer-with-model": 0,
  "no-measurements": 0,
  "ttft-too-high": 0,
  "tps-too-low": 0,
  "both-too-low": 0
})

const sums: Readonly<Record<TierName, Record<SlaStatus, number>>> = {
  "daily-driver": none(),
  capacity: none(),
  experimental: none()
}

new Counter({
  name: "weft_sla_verdicts_total",
  help: "Requests that reached the gate, by the tier of their model and what the gate said; refused ones too.",
  labelNames: ["tier", "status"] as const,
  collect() {
    this.reset()
    for (const tier of tierNames) for (const status of slaStatuses) this.inc({ tier, status }, sums[tier][status])
  }
})
