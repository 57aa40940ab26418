/** What a peer says of itself: capabilities when it registers, load with every heartbeat. */
import { Schema } from "effect"
import { SoloOffer } from "./election/ElectionProtocol.ts"
import { Labels } from "./Labels.ts"
import { ModelDescription } from "./ModelDescription.ts"
import { PeerId } from "./PeerId.ts"
import { StageOffer } from "./StageOffer.ts"

/** Most models that one peer may announce. */
export const modelsMax = 32
/** Most models of which one peer may lend layers. */
export const stageOffersMax = 8

/** An address as owners write it, `HOST:PORT`. */
export const PeerAddress = Schema.String.pipe(
  Schema.pattern(/^[^\s/]{1,122}:\d{1,5}$/, { message: () => "write HOST:PORT, for example 203.0.113.7:4433" })
)

/** Represents a peer's capabilities; all of it is a claim until it was measured. */
export const PeerInfo = Schema.Struct({
  id: PeerId,
  /** Name its owner gave it; shown to people, trusted for nothing. */
  name: Schema.String.pipe(Schema.maxLength(64)),
  /** Version of the program. */
  version: Schema.String.pipe(Schema.maxLength(32)),
  /** Where other peers reach it, as its owner says; where its session comes from, if absent. */
  address: Schema.optionalWith(PeerAddress, { exact: true }),
  /** As its owner says; a label of trust counts where the entry vouches for it. */
  labels: Schema.optionalWith(Labels, { exact: true }),
  /** Memory it lends, in bytes. */
  memoryBytes: Schema.NonNegativeInt,
  threads: Schema.Int.pipe(Schema.positive()),
  models: Schema.Array(ModelDescription).pipe(Schema.maxItems(modelsMax)),
  /** Models of which it lends layers instead of serving them alone. */
  stages: Schema.optionalWith(Schema.Array(StageOffer).pipe(Schema.maxItems(stageOffersMax)), { exact: true }),
  /** Models that the entry may have it serve alone; absent where it serves all that it could anyway. */
  solo: Schema.optionalWith(SoloOffer, { exact: true })
})
export type PeerInfo = typeof PeerInfo.Type

/** Represents how busy one model of a peer is. */
export const ModelLoad = Schema.Struct({
  id: Schema.String.pipe(Schema.maxLength(256)),
  /** False while it loads or is started again after a crash. */
  ready: Schema.Boolean,
  active: Schema.NonNegativeInt,
  queued: Schema.NonNegativeInt
})
export type ModelLoad = typeof ModelLoad.Type

/** Represents what changes between two heartbeats. */
export const PeerLoad = Schema.Struct({
  /** `draining`: finishes what it runs, takes nothing new. */
  state: Schema.Literal("ready", "draining"),
  models: Schema.Array(ModelLoad).pipe(Schema.maxItems(modelsMax))
})
export type PeerLoad = typeof PeerLoad.Type
