/** The control plane between a peer and its entry: what a peer may ask of the entry over their link. */
import { Rpc, RpcGroup } from "@effect/rpc"
import { Schema } from "effect"
import { Order, Standing } from "./election/ElectionProtocol.ts"
import { PeerInfo, PeerLoad } from "./PeerInfo.ts"

/** Represents a registration that the entry does not take, and why. */
export class RegisterRefused extends Schema.TaggedError<RegisterRefused>()("RegisterRefused", {
  reason: Schema.Literal("AnnouncementRefused", "DirectoryFull", "StaleLink"),
  detail: Schema.String.pipe(Schema.maxLength(256))
}) {
  override get message(): string {
    return `the entry refused the registration (${this.reason}): ${this.detail}`
  }
}

/** Represents a heartbeat of a peer that is not (or no longer) registered: it must register again. */
export class NotRegistered extends Schema.TaggedError<NotRegistered>()("NotRegistered", {}) {
  override get message(): string {
    return "this peer is not registered at the entry"
  }
}

/**
 * Most bytes of an announcement: 32 models of 3.1 KB each, with names and texts as long as they may be in UTF-8 and all
 * their stages, 8 offers of 11 KB each, and 8 candidates of 1.3 KB.
 */
const announcementBytesMax = 224 * 1024

/** Represents capabilities as their owner signed them: the exact bytes and the signature over them. */
export const SignedAnnouncement = Schema.Struct({
  bytes: Schema.Uint8ArrayFromSelf.pipe(Schema.filter((bytes) => bytes.length <= announcementBytesMax)),
  signature: Schema.Uint8ArrayFromSelf.pipe(Schema.filter((bytes) => bytes.length === 64))
})
export type SignedAnnouncement = typeof SignedAnnouncement.Type

/** Represents what is signed: capabilities for one entry, for a short time, with a number that only rises. */
export const Announcement = Schema.Struct({
  info: PeerInfo,
  audience: PeerInfo.fields.id,
  sequence: Schema.NonNegativeInt,
  issuedAtMs: Schema.NonNegativeInt,
  expiresAtMs: Schema.NonNegativeInt
})
export type Announcement = typeof Announcement.Type

/** A defect as the other side hears of it: a text is what was wrong with its own message, all else stays inside. */
const defect = Schema.transform(Schema.String, Schema.Unknown, {
  strict: true,
  decode: (text) => text.slice(0, 256),
  encode: (inside) => (typeof inside === "string" ? inside.slice(0, 256) : "the call failed on the other side")
})

/** What the entry serves on a peer's control stream. */
export class MeshRpcs extends RpcGroup.make(
  /** Enters the directory or changes what it says; answers how often to send a heartbeat. */
  Rpc.make("Register", {
    payload: { announcement: SignedAnnouncement },
    success: Schema.Struct({ heartbeatEveryMs: Schema.Int.pipe(Schema.between(100, 60_000)) }),
    error: RegisterRefused,
    defect
  }),
  /** Says that the peer lives and how busy it is; answers the entry's clock. */
  Rpc.make("Heartbeat", {
    payload: { load: PeerLoad },
    success: Schema.Struct({ nowMs: Schema.NonNegativeInt }),
    error: NotRegistered,
    defect
  }),
  /** Asks which models to serve alone, and renews the lease; null where the entry has no order for the peer. */
  Rpc.make("Elect", { payload: { standing: Standing }, success: Schema.NullOr(Order), defect }),
  /** Leaves the directory at once. */
  Rpc.make("Leave", { defect })
) {}
