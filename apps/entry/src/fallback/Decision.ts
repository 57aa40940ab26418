/** Whether a request goes to the provider, as far as configuration and verdict decide it. Pure. */
import { Option } from "effect"
import type { Verdict } from "../sla/Gate.ts"
import { type FallbackConfig, providerModel } from "./FallbackConfig.ts"

/**
 * What `x-weft-fallback-status` says. `not-needed`: the mesh keeps the promise. `served`: the provider answered. All
 * others: the mesh was asked although the gate missed. `fallback-disabled`: no provider is configured.
 * `tier-not-allowed`: of this tier nothing goes there. `model-not-mapped`: it has no such model.
 * `request-not-portable`: what is asked for makes sense here alone. `trial`: this one shows whether the mesh is better
 * by now. `breaker-open`: the provider failed several, and is left alone for a while. `budget-exhausted`: the address
 * has used up its hour, or the provider gives as many answers as it may at once. `failed`: the provider failed before
 * its first text.
 */
export type FallbackStatus =
  | "not-needed"
  | "served"
  | "fallback-disabled"
  | "tier-not-allowed"
  | "model-not-mapped"
  | "request-not-portable"
  | "trial"
  | "breaker-open"
  | "budget-exhausted"
  | "failed"

/** Represents a decision: who is asked first. */
export type Decision =
  | { readonly _tag: "Mesh"; readonly status: FallbackStatus }
  /** `model` is the provider's name of it. */
  | { readonly _tag: "Provider"; readonly config: FallbackConfig; readonly model: string }

/** Returns the decision that the mesh is asked, and why. */
export const mesh = (status: FallbackStatus): Extract<Decision, { readonly _tag: "Mesh" }> => ({ _tag: "Mesh", status })

/** Returns who is asked first; budgets and trials, which change with every request, are not looked at. */
export const decide = (
  config: Option.Option<FallbackConfig>,
  { status, tier }: Verdict,
  model: string,
  isPortable: boolean
): Decision => {
  if (status === "meets-sla") return mesh("not-needed")
  if (Option.isNone(config)) return mesh("fallback-disabled")
  if (!config.value.tiers.has(tier)) return mesh("tier-not-allowed")
  const theirs = providerModel(config.value, model)
  if (theirs === undefined) return mesh("model-not-mapped")
  return isPortable ? { _tag: "Provider", config: config.value, model: theirs } : mesh("request-not-portable")
}
