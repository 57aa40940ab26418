/** How the events of an answer become its response; `AnswerWhole.ts` and `AnswerStream.ts` are the two ways. */
import type { GenerateEvent } from "@weft/engine/Generation"
import type { ApiError } from "../OpenAiError.ts"

/** How an answer ended: whole, by its reader, or with an error that its reader is told. */
export type Ending = "whole" | "left" | "slow" | ApiError

/** Represents the response to one request as its answer fills it. */
export interface Reply {
  /** Takes events that came together; returns how the answer ended where it did. */
  readonly events: (events: ReadonlyArray<GenerateEvent>) => Ending | undefined
  /** Is called at each tick of the clock; returns why to give up where there is a reason. */
  readonly tick: () => Ending | undefined
  /** Ends the response as the answer ended; called once, last. */
  readonly end: (ending: Ending) => void
}

/** Sends a response: the first one a request gets, later ones go nowhere. */
export interface Respond {
  readonly send: (status: number, headers: Readonly<Record<string, string>>, body: string | ReadableStream) => void
  readonly fail: (error: ApiError) => void
}
