/** What becomes of the reports of other entries, on prom-client's global register. */
import { Counter } from "prom-client"

/** Counts reports that other entries were asked for: `taken`, or `refused`, those that never came included. */
export const reports = new Counter({
  name: "weft_entry_reports_total",
  help: "Reports that other entries were asked for, by whether they count here.",
  labelNames: ["result"] as const
})
for (const result of ["taken", "refused"]) reports.inc({ result }, 0)
