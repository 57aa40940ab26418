/** The routing policies by name; `WEFT_ROUTING` chooses one. */
import { Schema } from "effect"
import type { Policy } from "./Policy.ts"
import { leastLoaded } from "./policies/LeastLoaded.ts"
import { powerOfTwo } from "./policies/PowerOfTwo.ts"
import { predictedTtft } from "./policies/PredictedTtft.ts"
import { roundRobin } from "./policies/RoundRobin.ts"

/** Name of a policy. */
export const PolicyName = Schema.Literal("predicted-ttft", "least-loaded", "round-robin", "power-of-two")
export type PolicyName = typeof PolicyName.Type

/** Every policy. */
export const policies: Readonly<Record<PolicyName, Policy>> = {
  "predicted-ttft": predictedTtft,
  "least-loaded": leastLoaded,
  "round-robin": roundRobin,
  "power-of-two": powerOfTwo
}
