/**
 * The engine as the rest of Weft sees it: one loaded model in a child process of its own. `EngineHost*` is that
 * child, `EngineSupervisor.ts` the actor that starts it again when it dies.
 */

import type { ModelDescription } from "@weft/mesh/ModelDescription"
import type { Effect } from "effect"
import type { EngineTuning } from "./EngineTuning.ts"
import type { GenerateEvent, GenerateRequest } from "./Generation.ts"

/** Represents how busy an engine is. */
export interface EngineLoad {
  readonly state: "loading" | "ready" | "restarting" | "stopped"
  /** Sequences that run now; at most `ModelDescription.slots`. */
  readonly active: number
  /** Requests that wait for a slot. */
  readonly queued: number
  /** Times the child was started again since the engine was made. */
  readonly restarts: number
  /** What the host that was up last chose for this computer, and why. */
  readonly tuning?: EngineTuning
}

/**
 * Is told the events of one answer, in order and as they come; those that came together are one call. The last event
 * of all is `Finished` or `Failed`; nothing is told after it, nor after the answer was cancelled.
 */
export type AnswerListener = (events: ReadonlyArray<GenerateEvent>) => void

/** Cancels an answer and frees its slot; nothing happens where it has ended. */
export type CancelAnswer = () => void

/** Represents one model that answers. */
export interface Engine {
  readonly model: ModelDescription
  /**
   * Starts one answer; the listener may be called before this returns. Never throws: a request that cannot be taken
   * and the child's death are a `Failed`.
   */
  readonly generate: (request: GenerateRequest, listen: AnswerListener) => CancelAnswer
  readonly load: Effect.Effect<EngineLoad>
}
