/** How a verdict is told to a client, in the headers of its answer. Pure. */
import type { Verdict } from "./Gate.ts"

/** Returns the headers of a verdict: milliseconds and tokens per second are absent where nothing was measured. */
export const ofVerdict = ({ best, candidates, status, tier }: Verdict): Readonly<Record<string, string>> => ({
  "x-weft-sla-status": status,
  "x-weft-sla-tier": tier,
  "x-weft-sla-candidates": String(candidates),
  ...(best && { "x-weft-sla-best-ttft-ms": String(Math.round(best.ttftMs)) }),
  ...(best?.tokensPerSecond !== undefined && { "x-weft-sla-best-tps": best.tokensPerSecond.toFixed(1) })
})

/** The names of all headers that tell who answered and why, for browsers' scripts to read. */
export const names: ReadonlyArray<string> = [
  "x-weft-sla-status",
  "x-weft-sla-tier",
  "x-weft-sla-candidates",
  "x-weft-sla-best-ttft-ms",
  "x-weft-sla-best-tps",
  "x-weft-served-by",
  "x-weft-route",
  "x-weft-fallback-status"
]
