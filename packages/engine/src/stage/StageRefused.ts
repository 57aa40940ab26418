/** Why a model cannot be cut, or not there: one closed list, so that a planner can tell the cases apart. */
import { Data } from "effect"

/** Represents what stands against a stage. */
export type StageReason =
  /** The range is empty, not of whole layers, or not within the model. */
  | "BadRange"
  /** No stage of this architecture computes what the whole model does, or nobody has tried. */
  | "UnsupportedArchitecture"
  /** The architecture can be cut, but not this model of it. */
  | "UnsupportedModel"
  /** A stage of this architecture cannot begin there, or cannot have that many layers. */
  | "BadCut"
  /** The header holds a key or a tensor of which it is not known to which stage it belongs. */
  | "UnknownPart"
  /** The header lacks a tensor, or states a value that no stage can be made of. */
  | "BadModel"

/** Represents a stage that cannot be made. */
export class StageRefused extends Data.TaggedError("StageRefused")<{
  readonly reason: StageReason
  /** The fact that was found; names in it come from the file and are cut to 64 characters. */
  readonly detail: string
}> {
  override get message(): string {
    return `${this.detail} (${this.reason}). ${advice(this.reason)}`
  }
}

const advice = (reason: StageReason): string => {
  switch (reason) {
    case "BadRange":
      return "Ask for layers of the model, the first below the last."
    case "BadCut":
      return "Cut at one of the allowed layers."
    case "BadModel":
      return "Take the model from its publisher again."
    default:
      return "Serve this model whole."
  }
}

/** Ends the making of a stage: throws the refusal, which `StageLayout.make` turns into a typed failure. */
export const refuseStage = (reason: StageReason, detail: string): never => {
  throw new StageRefused({ reason, detail })
}
