/**
 * Who is at the other end: three messages on the first stream of a session, before anything else is served.
 *
 *   dialler  → Offer  {version, id, role, nonce}
 *   listener → Accept {version, id, role, nonce, signature}
 *   dialler  → Proof  {signature}
 *
 * Each side signs the whole transcript under a label of its own, in the manner of SIGMA: a signature made for one
 * session, side or certificate is worth nothing in another. Pure; `Link.ts` carries the messages.
 */
import { Data, Schema } from "effect"
import { concat } from "./FrameBuffer.ts"
import * as Identity from "./Identity.ts"
import { PeerId } from "./PeerId.ts"

/** Version of everything that follows the hello. */
export const protocolVersion = 1
/** Oldest version that this program still speaks. */
export const protocolVersionMin = 1

/** Represents what a process is in the mesh. */
export const Role = Schema.Literal("entry", "peer")
export type Role = typeof Role.Type

const nonceBytes = 32
const Nonce = Schema.Uint8ArrayFromSelf.pipe(Schema.filter((bytes) => bytes.length === nonceBytes))
const Signature = Schema.Uint8ArrayFromSelf.pipe(Schema.filter((bytes) => bytes.length === 64))
const Version = Schema.Int.pipe(Schema.between(0, 0xffff))

/** Represents the first message, from the dialler. */
export const Offer = Schema.TaggedStruct("Offer", { version: Version, id: PeerId, role: Role, nonce: Nonce })
export type Offer = typeof Offer.Type

/** Represents the listener's answer. */
export const Accept = Schema.TaggedStruct("Accept", {
  version: Version,
  id: PeerId,
  role: Role,
  nonce: Nonce,
  signature: Signature
})
export type Accept = typeof Accept.Type

/** Represents the dialler's last message. */
export const Proof = Schema.TaggedStruct("Proof", { signature: Signature })
export type Proof = typeof Proof.Type

/** Represents a hello that was not accepted; the reason is counted and told to the other side. */
export class HelloRefused extends Data.TaggedError("HelloRefused")<{
  readonly reason: "ProtocolVersion" | "Identity" | "Signature" | "Role" | "Malformed" | "Timeout" | "Lost"
  readonly detail: string
}> {
  override get message(): string {
    return `hello refused (${this.reason}): ${this.detail}`
  }
}

/**
 * Returns the bytes that `side` signs: its label, the SHA-256 of the listener's certificate, and the versions, nonces,
 * ids and roles of both. Every field has a fixed length or is closed by a zero byte.
 */
export const transcript = (
  side: "dialler" | "listener",
  offer: Offer,
  accept: Omit<Accept, "signature">,
  serverCertificateSha256: Uint8Array
): Uint8Array => {
  const text = (value: string): Uint8Array => new TextEncoder().encode(`${value}\0`)
  const u16 = (value: number): Uint8Array => Uint8Array.of(value >> 8, value & 0xff)
  return concat([
    text("weft/hello/1"),
    text(side),
    serverCertificateSha256,
    u16(offer.version),
    u16(accept.version),
    offer.nonce,
    accept.nonce,
    text(offer.id),
    text(accept.id),
    text(offer.role),
    text(accept.role)
  ])
}

/** Returns why an offer cannot be answered, or undefined where it can; `accepts` is the only role let in. */
export const judgeOffer = (offer: Offer, own: PeerId, accepts: Role): HelloRefused | undefined =>
  judgeVersion(offer) ??
  judgeOther(offer, own) ??
  (offer.role === accepts
    ? undefined
    : new HelloRefused({ reason: "Role", detail: `a ${offer.role} dialled, only a ${accepts} is let in here` }))

/** Returns why an answer to our `offer` is not accepted, or undefined; `expected` is the id we meant to dial. */
export const judgeAccept = (
  offer: Offer,
  accept: Accept,
  serverCertificateSha256: Uint8Array,
  expected: PeerId | undefined
): HelloRefused | undefined => {
  const refused = judgeVersion(accept) ?? judgeOther(accept, offer.id)
  if (refused !== undefined) return refused
  if (expected !== undefined && accept.id !== expected) {
    return new HelloRefused({ reason: "Identity", detail: `expected ${expected}, met ${accept.id}` })
  }
  return Identity.verify(accept.id, transcript("listener", offer, accept, serverCertificateSha256), accept.signature)
    ? undefined
    : new HelloRefused({ reason: "Signature", detail: `${accept.id} did not sign this session` })
}

/** Returns why the dialler's proof is not accepted, or undefined. */
export const judgeProof = (
  offer: Offer,
  accept: Omit<Accept, "signature">,
  proof: Proof,
  serverCertificateSha256: Uint8Array
): HelloRefused | undefined =>
  Identity.verify(offer.id, transcript("dialler", offer, accept, serverCertificateSha256), proof.signature)
    ? undefined
    : new HelloRefused({ reason: "Signature", detail: `${offer.id} did not sign this session` })

// internal

const judgeVersion = ({ version }: { readonly version: number }): HelloRefused | undefined => {
  if (version >= protocolVersionMin && version <= protocolVersion) return undefined
  const versions = `the other side speaks version ${version}, this one ${protocolVersionMin} to ${protocolVersion}`
  return new HelloRefused({ reason: "ProtocolVersion", detail: `${versions}; update the older program` })
}

const judgeOther = ({ id }: { readonly id: PeerId }, own: PeerId): HelloRefused | undefined =>
  id === own ? new HelloRefused({ reason: "Identity", detail: "the other side uses this process's own id" }) : undefined
