/** What can go wrong between two processes of the mesh. */
import { Data } from "effect"

/** Represents a stream that can carry no more: cut, reset by either side, or its session gone. */
export class StreamError extends Data.TaggedError("StreamError")<{
  readonly reason: "Reset" | "SessionClosed" | "Overrun" | "Malformed" | "Ended"
  /** Code of a reset (either side's), 0 otherwise. */
  readonly code: number
  readonly cause?: unknown
}> {
  override get message(): string {
    return this.reason === "Reset" ? `stream was reset with code ${this.code}` : `stream failed: ${this.reason}`
  }
}

/** Represents a goodbye: which side closed the session, with what code and reason. */
export interface Goodbye {
  readonly by: "us" | "them"
  readonly code: number
  /** At most 256 characters; the other side's words are hostile. */
  readonly reason: string
}

/** Represents a session that could not be made or no longer lives. */
export class SessionError extends Data.TaggedError("SessionError")<{
  readonly reason: "DialFailed" | "DialTimeout" | "Closed" | "Lost" | "TooManyStreams" | "ListenFailed"
  readonly address: string
  /** Who left and why, when `reason` is `Closed`. */
  readonly goodbye?: Goodbye
  readonly cause?: unknown
}> {
  override get message(): string {
    const { goodbye, cause } = this
    const why =
      goodbye === undefined
        ? cause === undefined
          ? ""
          : `: ${cause}`
        : ` by ${goodbye.by}: ${goodbye.code} ${goodbye.reason}`
    return `session with ${this.address}: ${this.reason}${why}`
  }
}
