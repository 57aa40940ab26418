/** Which model a chat begins with where its user chose none. Pure. */
import type { Verdict } from "./Gate.ts"
import { tierNames } from "./Tier.ts"

/**
 * Returns the model a chat begins with: of the strictest tier that is served, so a daily driver where there is one;
 * there one that keeps its promise before one that was not measured, and that before one that is too slow; of those the
 * fastest, and then the first by name. Undefined where nothing is served.
 */
export const defaultModel = (
  models: ReadonlyArray<string>,
  verdictOf: (model: string) => Verdict
): string | undefined =>
  models
    .map((model) => ({ model, verdict: verdictOf(model) }))
    .filter(({ verdict }) => verdict.candidates > 0)
    .toSorted(
      (a, b) =>
        tierNames.indexOf(a.verdict.tier) - tierNames.indexOf(b.verdict.tier) ||
        rank(a.verdict) - rank(b.verdict) ||
        rate(b.verdict) - rate(a.verdict) ||
        (a.model < b.model ? -1 : 1)
    )[0]?.model

// internal

const rank = ({ status }: Verdict): number => (status === "meets-sla" ? 0 : status === "no-measurements" ? 1 : 2)

const rate = ({ best }: Verdict): number => best?.tokensPerSecond ?? 0
