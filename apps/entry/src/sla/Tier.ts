/** What a model is good for, by configuration. */

/** The tiers, the strictest first. */
export type TierName = "daily-driver" | "capacity" | "experimental"
