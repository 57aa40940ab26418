/** What the entry says to the hosts of its splits, with the permits that make peers lend their layers to them. */
import { Form, type PeerPlace, Spares } from "@weft/engine/pipeline/PipelineProtocol"
import * as StagePermit from "@weft/engine/pipeline/StagePermit"
import * as Frames from "@weft/mesh/Frames"
import type { Identity } from "@weft/mesh/Identity"
import type { SplitActivations } from "./SplitActivations.ts"
import type { Group } from "./SplitState.ts"

/** Represents the messages of one entry; both are frames, whose permits are good from `nowMs` on. */
export interface SplitMessages {
  /** Returns the wish for a group. */
  readonly form: (group: Group, nowMs: number) => Uint8Array
  /** Returns who may take a stage over. */
  readonly spares: (group: Group, nowMs: number) => Uint8Array
}

/** Returns the messages that `identity` signs; stages hand on hidden states as `activations` has it. */
export const make = (identity: Identity["Type"], activations: SplitActivations): SplitMessages => {
  /** A peer may hold any one stage of its group. */
  const permits = ({ group, host, model, stages }: Group, peers: ReadonlyArray<PeerPlace>, nowMs: number) => {
    const layersMax = Math.max(...stages.map(({ from, to }) => to - from))
    return peers.map(({ peer }) => StagePermit.sign(identity, { group, host, model, peer }, layersMax, nowMs))
  }
  return {
    form: (one, nowMs) => {
      const { group, layers, model, spares, stages } = one
      const type = activations.get(model.architecture)
      const permitted = permits(one, [...stages.slice(1), ...spares], nowMs)
      const form = { group, model, layers, stages, spares, permits: permitted }
      return encodeForm({ _tag: "Form", ...form, ...(type && { activations: type }) })
    },
    spares: (group, nowMs) => {
      const { spares } = group
      return encodeSpares({ _tag: "Spares", spares, permits: permits(group, spares, nowMs) })
    }
  }
}

// internal

const encodeForm = Frames.encode(Form)
const encodeSpares = Frames.encode(Spares)
