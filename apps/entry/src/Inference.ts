/** The mesh as the HTTP layer sees it: which models are served now, and one answer per request. */
import type { GenerateEvent, GenerateRequest } from "@weft/engine/Generation"
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import { Context, Data, type Effect, type Mailbox, type Scope } from "effect"

/** Represents a model that at least one peer serves now. */
export interface ServedModel {
  readonly description: ModelDescription
  /** When the first of its peers registered, milliseconds since 1970. */
  readonly sinceMs: number
  readonly peers: number
}

/** Represents an answer under way. */
export interface Answer {
  /** Id of the peer that gives it. */
  readonly servedBy: string
  /** Ends after `Finished` or `Failed`; a lost peer is a `Failed` with `engine_lost`. */
  readonly events: Mailbox.ReadonlyMailbox<GenerateEvent>
}

/** Represents why no answer was begun. */
export class NoAnswer extends Data.TaggedError("NoAnswer")<{
  readonly reason: "ModelNotFound" | "NoPeer" | "Overloaded"
  readonly model: string
  /** Seconds after which a retry makes sense, where that is known. */
  readonly retryAfterSeconds?: number
}> {
  override get message(): string {
    switch (this.reason) {
      case "ModelNotFound":
        return `The model '${this.model}' does not exist or no peer has served it yet.`
      case "NoPeer":
        return `No peer that serves '${this.model}' can be reached now.`
      case "Overloaded":
        return `Every peer that serves '${this.model}' is busy.`
    }
  }
}

/** Gives answers from the mesh. */
export class Inference extends Context.Tag("@weft/entry/Inference")<
  Inference,
  {
    readonly models: Effect.Effect<ReadonlyArray<ServedModel>>
    /**
     * Picks a peer and begins the answer, in the name of `caller` (callers take turns when all peers are busy); closing
     * the scope cancels it on the peer.
     */
    readonly generate: (request: GenerateRequest, caller: string) => Effect.Effect<Answer, NoAnswer, Scope.Scope>
  }
>() {}
