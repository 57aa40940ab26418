/**
 * What `GET /api/status` says: the mesh as anybody may see it. Holds no prompt, no key, and of a peer nothing but its
 * id, its name, its labels and what it serves. `docs/status-api.md` explains every field; what breaks readers is a new
 * version.
 */
import { Role } from "@weft/mesh/election/ElectionProtocol"
import { PeerId } from "@weft/mesh/PeerId"
import { Schema } from "effect"

/** The version of the document; new fields may come within one. */
export const statusVersion = 1

/** Most models of one document, those served now first: a page of more rows is read by nobody. */
export const modelsShownMax = 200
/** Most peers named of one model in either list; `peerCount` and `electedCount` count them all. */
export const peersShownMax = 32

const Milliseconds = Schema.Number
/** Milliseconds since 1970. */
const Instant = Schema.Int
const Count = Schema.NonNegativeInt

const Quantiles = Schema.Struct({ p50: Schema.Number, p95: Schema.Number })

/** Represents an hour of answers as the entry measured them; for rates `p95` is the one that 95 % are above. */
export const Through = Schema.Struct({
  ttftMs: Quantiles,
  /** None where no answer was long enough to tell a rate. */
  tokensPerSecond: Schema.NullOr(Quantiles),
  samples: Count
})
export type Through = typeof Through.Type

/** Represents what peers measured of their own engines, with no mesh in the way. */
export const Native = Schema.Struct({
  ttftMs: Milliseconds,
  tokensPerSecond: Schema.Number,
  /** Completions that the figures are the median of. */
  runs: Schema.Int
})
export type Native = typeof Native.Type

/** Represents which part of the native rate comes through the mesh. */
export const Efficiency = Schema.Struct({
  /** None where one of the two was not measured. */
  ratio: Schema.NullOr(Schema.Number),
  /** `green` from 0.8, `amber` from 0.5, `red` below; `unmeasured` is a state of its own. */
  grade: Schema.Literal("green", "amber", "red", "unmeasured")
})
export type Efficiency = typeof Efficiency.Type

/** Represents the labels by which requests may choose a peer. */
export const PeerLabels = Schema.Struct({
  /** As its owner says. */
  region: Schema.NullOr(Schema.String),
  /** None where the entry does not vouch for it, whatever the owner says. */
  trust: Schema.NullOr(Schema.String)
})
export type PeerLabels = typeof PeerLabels.Type

/** Represents a peer's part in a model. */
export const ServingPeer = Schema.Struct({
  id: PeerId,
  /** As its owner wrote it, without control characters; trusted for nothing. */
  name: Schema.String,
  state: Schema.Literal("ready", "loading", "draining"),
  active: Count,
  queued: Count,
  /** 0 where the peer computes a part of the model. */
  slots: Count,
  /** Round trip between it and the entry. */
  rttMs: Schema.NullOr(Milliseconds),
  labels: PeerLabels,
  through: Schema.NullOr(Through),
  native: Schema.NullOr(Native),
  efficiency: Efficiency
})
export type ServingPeer = typeof ServingPeer.Type

/** Represents what this entry elected a peer to be for a model that it has on disk, loaded or not. */
export const ElectedPeer = Schema.Struct({
  id: PeerId,
  name: Schema.String,
  /** `worker` serves it, `standby` keeps it ready on disk, `dropped` is not counted on for it. */
  role: Role,
  /** A sentence for people, as the election kept it. */
  why: Schema.String,
  labels: PeerLabels
})
export type ElectedPeer = typeof ElectedPeer.Type

/** Represents layers `from` up to, and without, `to` at a peer. */
export const Stage = Schema.Struct({
  peer: PeerId,
  name: Schema.String,
  from: Count,
  to: Count,
  /** Round trip to the next stage, of the last one back to the first; at most that, as it is measured via the entry. */
  nextRttMs: Schema.NullOr(Milliseconds)
})
export type Stage = typeof Stage.Type

/** Represents one model. */
export const ModelStatus = Schema.Struct({
  id: Schema.String,
  architecture: Schema.String,
  quantization: Schema.String,
  sizeBytes: Count,
  contextTokens: Count,
  tier: Schema.Literal("daily-driver", "capacity", "experimental"),
  /** None where nobody serves it now. */
  mode: Schema.NullOr(Schema.Literal("solo", "split")),
  /** Of those that serve it whole, or, in order, that compute its stages; at most `peersShownMax`. */
  peers: Schema.Array(ServingPeer),
  peerCount: Count,
  /** Workers, then standbys, then dropped ones, at most `peersShownMax`; empty where no peer had to be elected. */
  elected: Schema.Array(ElectedPeer),
  electedCount: Count,
  /** Present only while they serve. */
  stages: Schema.NullOr(Schema.Array(Stage)),
  through: Schema.NullOr(Through),
  native: Schema.NullOr(Native),
  efficiency: Efficiency,
  audit: Schema.Literal("unaudited"),
  /** When the first answer came through the mesh, and the first from a split. */
  firstServedAt: Schema.Struct({ meshMs: Schema.NullOr(Instant), splitMs: Schema.NullOr(Instant) })
})
export type ModelStatus = typeof ModelStatus.Type

/** Represents who answered. */
export const ShareWindow = Schema.Struct({
  requests: Count,
  mesh: Count,
  fallback: Count,
  /** By nobody, e.g. as no peer was there. */
  refused: Count,
  /** Of the answered ones, 0 to 100; none where none was answered. */
  meshSharePct: Schema.NullOr(Schema.Number)
})
export type ShareWindow = typeof ShareWindow.Type

const Figures = Schema.Array(Schema.NullOr(Schema.Number))

/** Represents hours that follow each other; every array has one element for each, the last one is not over. */
export const History = Schema.Struct({
  fromMs: Instant,
  hours: Schema.Int,
  models: Schema.Array(
    Schema.Struct({
      id: Schema.String,
      /** Medians of the hour; none where nothing was measured. */
      ttftMs: Figures,
      tokensPerSecond: Figures,
      /** Requests by who served them. */
      mesh: Schema.Array(Count),
      fallback: Schema.Array(Count),
      refused: Schema.Array(Count)
    })
  )
})
export type History = typeof History.Type

/** Represents the whole document. */
export const StatusDocument = Schema.Struct({
  version: Schema.Literal(statusVersion),
  generatedAtMs: Instant,
  entry: Schema.Struct({
    id: PeerId,
    /** Of the program. */
    version: Schema.String,
    startedAtMs: Instant,
    uptimeSeconds: Count
  }),
  models: Schema.Array(ModelStatus),
  modelCount: Count,
  share: Schema.Struct({ day: ShareWindow, week: ShareWindow }),
  peers: Schema.Struct({
    total: Count,
    ready: Count,
    draining: Count,
    /** Those that lend layers of models they do not hold. */
    lending: Count,
    memoryBytes: Count
  }),
  links: Schema.Struct({ total: Count, rttMs: Schema.NullOr(Quantiles) }),
  /** The last 24 hours. */
  history: History
})
export type StatusDocument = typeof StatusDocument.Type
