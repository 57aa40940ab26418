/** Who is started again after a child ended, and when: pure decisions over the times of past restarts. */
import { Cause, Data, Duration, Exit } from "effect"

/**
 * Represents which children start again when one fails: it alone, all of them, or it and those listed after it.
 *
 * @category models
 */
export type Strategy = "one_for_one" | "one_for_all" | "rest_for_one"

/**
 * Represents when a child starts again: however it ended, only after a failure, or never. An interruption is no
 * failure.
 *
 * @category models
 */
export type RestartType = "permanent" | "transient" | "temporary"

/**
 * Represents how much failure a supervisor bears: at most `intensity` restarts in any `period`, the n-th of them
 * `backoffMin · 2ⁿ⁻¹` after the failure, never more than `backoffMax`.
 *
 * @category models
 */
export interface RestartPolicy {
  readonly intensity: number
  readonly period: Duration.Duration
  readonly backoffMin: Duration.Duration
  readonly backoffMax: Duration.Duration
}

/**
 * Bears 5 restarts a minute. A crash loop ends in 6.2 s (0.2 + 0.4 + 0.8 + 1.6 + 3.2), soon enough to be noticed as
 * one; a crash each 13 s is borne for ever. The longest wait is as long as a user would bear.
 *
 * @category models
 */
export const defaults: RestartPolicy = {
  intensity: 5,
  period: Duration.seconds(60),
  backoffMin: Duration.millis(200),
  backoffMax: Duration.seconds(10)
}

/**
 * Represents what to do after a failure; `restartsAtMs` replaces the history, at most `intensity` times.
 *
 * @category models
 */
export type Decision = Data.TaggedEnum<{
  Restart: { readonly delay: Duration.Duration; readonly restartsAtMs: ReadonlyArray<number> }
  Escalate: { readonly restarts: number }
}>
/**
 * Constructs decisions.
 *
 * @category constructors
 */
export const Decision = Data.taggedEnum<Decision>()

/**
 * Returns whether a failure at `nowMs` is borne, given when earlier ones were. `restartsAtMs` and `nowMs` are
 * milliseconds of the same clock, oldest first.
 *
 * @category decisions
 */
export const decide = (policy: RestartPolicy, restartsAtMs: ReadonlyArray<number>, nowMs: number): Decision => {
  const recent = restartsAtMs.filter((atMs) => nowMs - atMs < Duration.toMillis(policy.period))
  if (recent.length >= policy.intensity) return Decision.Escalate({ restarts: recent.length })
  const delay = Duration.min(Duration.times(policy.backoffMin, 2 ** recent.length), policy.backoffMax)
  return Decision.Restart({ delay, restartsAtMs: [...recent, nowMs] })
}

/**
 * Returns the children that start again with `failed`, in start order; `children` is in start order;
 * after a `failed` that is no longer among them nothing follows.
 *
 * @category decisions
 */
export const affected = <A>(strategy: Strategy, children: ReadonlyArray<A>, failed: A): ReadonlyArray<A> => {
  switch (strategy) {
    case "one_for_one":
      return [failed]
    case "one_for_all":
      return children
    case "rest_for_one":
      return children.includes(failed) ? children.slice(children.indexOf(failed)) : []
  }
}

/**
 * Returns whether a child of this type starts again after it ended so.
 *
 * @category decisions
 */
export const startsAgain = (restart: RestartType, exit: Exit.Exit<unknown, unknown>): boolean => {
  switch (restart) {
    case "permanent":
      return true
    case "transient":
      return Exit.isFailure(exit) && !Cause.isInterruptedOnly(exit.cause)
    case "temporary":
      return false
  }
}
