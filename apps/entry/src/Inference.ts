/** The mesh as the HTTP layer sees it: which models are served now, and one answer per request. */
import type { GenerateEvent, GenerateRequest } from "@weft/engine/Generation"
import type { Labels } from "@weft/mesh/Labels"
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import type { PeerId } from "@weft/mesh/PeerId"
import { Context, Data } from "effect"
import type { Figures } from "./performance/PerformanceState.ts"

/** Represents a model that at least one peer serves now. */
export interface ServedModel {
  readonly description: ModelDescription
  /** When the first of its peers registered, milliseconds since 1970. */
  readonly sinceMs: number
  readonly peers: number
  /** Returns who computes which layers now, where no peer serves it whole. */
  readonly stages: () => ModelDescription["stages"]
}

/** Who answers: one peer with the whole model, several with a part each, or a provider outside of the mesh. */
export type Route = "mesh:solo" | "mesh:split" | "fallback"

/**
 * Is told what becomes of one request, in order and at once; nothing is told after a cancel. Its functions are called
 * as its methods, and throw nothing.
 */
export interface AnswerListener {
  /** A peer, named by its id, took the request and gave its first event; told once, before that event. */
  readonly begun: (servedBy: PeerId | "fallback", route: Route) => void
  /** The answer is not all of the peer that is named: another one failed it before or after it had begun. */
  readonly moved: () => void
  /**
   * Events that came together, at least one; the last event of all is `Finished` or `Failed`, a lost peer is a `Failed`
   * with `engine_lost`.
   */
  readonly events: (events: ReadonlyArray<GenerateEvent>) => void
  /**
   * Nobody gave an answer; told instead of everything else. It may be told before `generate` returns, as `begun` and
   * `events` may.
   */
  readonly refused: (why: NoAnswer) => void
}

/** Represents why no answer was begun. */
export class NoAnswer extends Data.TaggedError("NoAnswer")<{
  readonly reason: "ModelNotFound" | "NoPeer" | "NotExact" | "Overloaded"
  readonly model: string
  /** Seconds after which a retry makes sense, where that is known. */
  readonly retryAfterSeconds?: number
  /** The label that no peer with the model carries, as people read it. */
  readonly label?: string
}> {
  override get message(): string {
    switch (this.reason) {
      case "ModelNotFound":
        return `The model '${this.model}' does not exist or no peer has served it yet.`
      case "NoPeer":
        return this.label === undefined
          ? `No peer that serves '${this.model}' can be reached now.`
          : `No peer that serves '${this.model}' and can be reached now carries the ${this.label}.`
      case "NotExact":
        return `The model '${this.model}' is split now among peers that round what they hand on to each other.`
      case "Overloaded":
        return `Every peer that serves '${this.model}' is busy.`
    }
  }
}

/** Represents in whose name an answer is asked for, and which peers may give it. */
export interface Asker {
  /** Name of the key; callers take turns when all peers are busy. */
  readonly caller: string
  readonly labels: Labels
  /** Whether a peer that was measured so keeps what is promised; those that do are asked first. */
  readonly meetsSla?: (figures: Figures) => boolean
}

/** Gives answers from the mesh. */
export class Inference extends Context.Tag("@weft/entry/Inference")<
  Inference,
  {
    /** Returns every model that is served now. */
    readonly models: () => ReadonlyArray<ServedModel>
    /** Returns the model of this id, undefined where nobody serves it now. */
    readonly find: (model: string) => ServedModel | undefined
    /**
     * Picks a peer and begins the answer. Returns what cancels it on the peer: idempotent, and without effect after the
     * answer's end.
     */
    readonly generate: (request: GenerateRequest, asker: Asker, listener: AnswerListener) => () => void
  }
>() {}
