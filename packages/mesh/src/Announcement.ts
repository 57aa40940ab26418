/**
 * A peer's capabilities as it signed them. The signature is over the exact bytes that travel; they are never encoded
 * again before it is checked. Audience, expiry and a rising number make a copy worthless elsewhere and later. Pure.
 */
import { Data, Either, Option, Schema } from "effect"
import * as Identity from "./Identity.ts"
import { Announcement, type SignedAnnouncement } from "./MeshProtocol.ts"
import * as Msgpack from "./Msgpack.ts"
import type { PeerId } from "./PeerId.ts"

/** How long an announcement may be used: a registration takes a round trip, the rest is room for clocks. */
export const validityMs = 60_000
/** Clocks of volunteers' machines differ; `peer doctor` warns well before this. */
export const skewMsMax = 30_000

/** Represents an announcement that is not taken. */
export class AnnouncementRefused extends Data.TaggedError("AnnouncementRefused")<{
  readonly reason: "Signature" | "Malformed" | "Sender" | "Audience" | "Expired" | "Replayed"
}> {
  override get message(): string {
    switch (this.reason) {
      case "Signature":
        return "the signature does not belong to these bytes and this peer"
      case "Malformed":
        return "the announcement does not decode; update the older program"
      case "Sender":
        return "it announces another peer than the one that sent it"
      case "Audience":
        return "it was made for another entry"
      case "Expired":
        return "it is outside its time; compare the clocks with: bun run peer doctor"
      case "Replayed":
        return "its number is not above the last one"
    }
  }
}

/** Signs an announcement. */
export const sign = (identity: typeof Identity.Identity.Service, announcement: Announcement): SignedAnnouncement => {
  const bytes = Msgpack.encode(Schema.encodeSync(Announcement)(announcement))
  return { bytes, signature: identity.sign(signed(bytes)) }
}

/** Checks a signed announcement and returns what it says. */
export const open = (
  { bytes, signature }: SignedAnnouncement,
  expected: {
    /** Who the link's hello says is at the other end. */
    readonly sender: PeerId
    readonly audience: PeerId
    /** Number of the last announcement that was taken from this sender. */
    readonly lastSequence: number
    readonly now: number
  }
): Either.Either<Announcement, AnnouncementRefused> => {
  const refuse = (reason: AnnouncementRefused["reason"]) => Either.left(new AnnouncementRefused({ reason }))
  if (!Identity.verify(expected.sender, signed(bytes), signature)) return refuse("Signature")
  const decoded = Option.flatMap(Msgpack.decode(bytes), Schema.decodeUnknownOption(Announcement))
  if (Option.isNone(decoded)) return refuse("Malformed")
  const announcement = decoded.value
  if (announcement.info.id !== expected.sender) return refuse("Sender")
  if (announcement.audience !== expected.audience) return refuse("Audience")
  const { expiresAtMs, issuedAtMs } = announcement
  const inTime = issuedAtMs <= expected.now + skewMsMax && expected.now <= expiresAtMs + skewMsMax
  if (!inTime || expiresAtMs - issuedAtMs > validityMs) return refuse("Expired")
  return announcement.sequence > expected.lastSequence ? Either.right(announcement) : refuse("Replayed")
}

// internal

const domain = new TextEncoder().encode("weft/announce/1\0")

const signed = (bytes: Uint8Array): Uint8Array => {
  const whole = new Uint8Array(domain.length + bytes.length)
  whole.set(domain)
  whole.set(bytes, domain.length)
  return whole
}
