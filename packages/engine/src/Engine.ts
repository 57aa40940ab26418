/**
 * The engine as the rest of Weft sees it: one loaded model in a child process of its own. `EngineHost*` is that
 * child, `EngineSupervisor.ts` the actor that starts it again when it dies.
 */

import type { ModelDescription } from "@weft/mesh/ModelDescription"
import type { Effect, Mailbox, Scope } from "effect"
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

/** Represents one model that answers. */
export interface Engine {
  readonly model: ModelDescription
  /**
   * Starts one answer. The mailbox is bounded by the answer itself (`maxTokens`, context), ends after `Finished` or
   * `Failed`, and never fails: the child's death is a `Failed` with `engine_lost`. Closing the scope cancels the
   * answer and frees its slot.
   */
  readonly generate: (
    request: GenerateRequest
  ) => Effect.Effect<Mailbox.ReadonlyMailbox<GenerateEvent>, never, Scope.Scope>
  readonly load: Effect.Effect<EngineLoad>
}
