/** How a supervisor says that it gives up. */
import { type Cause, Data } from "effect"

/**
 * Represents a child that failed and will not start again: its supervisor bore as many restarts as its policy allows,
 * or the child is temporary. It stays in the process (the cause may hold anything), so it is no schema.
 *
 * @category errors
 */
export class ChildFailed extends Data.TaggedError("ChildFailed")<{
  readonly supervisor: string
  readonly child: string
  /** Restarts within the policy's period before this failure. */
  readonly restarts: number
  /** The last failure. */
  readonly cause: Cause.Cause<unknown>
}> {
  override get message(): string {
    const past = `after ${this.restarts} restarts`
    return `'${this.child}' of supervisor '${this.supervisor}' failed ${past} and stays down: see its cause`
  }
}
