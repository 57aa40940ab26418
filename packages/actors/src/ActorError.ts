/**
 * Why an actor gave no answer. These errors may cross the wire, so they carry kinds and numbers, never a defect's
 * text.
 */
import { Schema } from "effect"

/**
 * Represents a message that was not taken because the mailbox is at its bound: it has not run and will not run.
 *
 * @category errors
 */
export class MailboxFull extends Schema.TaggedError<MailboxFull>()("MailboxFull", {
  /** Kind of the actor. */
  actor: Schema.String,
  /** Turns that may wait at once. */
  capacity: Schema.Int
}) {
  override get message(): string {
    return `the mailbox of '${this.actor}' holds its ${this.capacity} turns: send again later, or send less at once`
  }
}

/**
 * Represents an address under which no actor of the asked kind lives here.
 *
 * @category errors
 */
export class ActorNotFound extends Schema.TaggedError<ActorNotFound>()("ActorNotFound", {
  /** The address as `ActorAddress.toString` writes it. */
  address: Schema.String
}) {
  override get message(): string {
    return `no actor at '${this.address}': look the address up again, it may have moved or ended`
  }
}

/**
 * Represents an actor that ended before it answered. A message that still waited has not run; one that ran, or a stream
 * that flowed, was cut, and its effect on the actor's state is unknown.
 *
 * @category errors
 */
export class ActorStopped extends Schema.TaggedError<ActorStopped>()("ActorStopped", {
  /** Kind of the actor. */
  actor: Schema.String,
  /** `restarting`: the same ref answers again, with fresh state; `stopped`: it never will. */
  reason: Schema.Literal("restarting", "stopped")
}) {
  override get message(): string {
    return this.reason === "restarting"
      ? `'${this.actor}' started again while it served this call: ask again if that is safe`
      : `'${this.actor}' has stopped: look for its successor`
  }
}

/**
 * Represents an ask whose deadline passed. The call was cancelled; whether its turn ran is unknown.
 *
 * @category errors
 */
export class AskTimeout extends Schema.TaggedError<AskTimeout>()("AskTimeout", {
  /** How long the caller was ready to wait, in milliseconds. */
  deadlineMs: Schema.Number
}) {
  override get message(): string {
    return `no answer within ${this.deadlineMs} ms: the call was cancelled, ask again only what is safe to run twice`
  }
}
