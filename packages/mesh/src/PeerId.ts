/** Who a process is: the Ed25519 public key it signs with, written as a `did:key`. */
import { base58 } from "@scure/base"
import { Option, Schema } from "effect"

/** Represents a peer's id: `did:key:z` + base58btc(0xed01 ‖ 32 public key bytes), always 56 characters. */
export const PeerId = Schema.String.pipe(
  Schema.pattern(/^did:key:z6Mk[1-9A-HJ-NP-Za-km-z]{44}$/),
  Schema.brand("PeerId")
)
export type PeerId = typeof PeerId.Type

/** Multicodec prefix of an Ed25519 public key (multiformats table, 0xed as a varint). */
const ed25519Prefix = Uint8Array.of(0xed, 0x01)
const prefix = "did:key:z"

/** Returns the id of a 32-byte Ed25519 public key. */
export const fromPublicKey = (publicKey: Uint8Array): PeerId =>
  PeerId.make(prefix + base58.encode(new Uint8Array([...ed25519Prefix, ...publicKey])))

/** Returns the 32-byte public key in an id; `None` where the characters do not decode to one. */
export const toPublicKey = (id: PeerId): Option.Option<Uint8Array> =>
  Option.liftThrowable(base58.decode)(id.slice(prefix.length)).pipe(
    Option.filter((bytes) => bytes.length === 34 && bytes[0] === ed25519Prefix[0] && bytes[1] === ed25519Prefix[1]),
    Option.map((bytes) => bytes.slice(2))
  )

/** Returns the last six characters, enough to tell peers apart in a line of a log or a table. */
export const toShort = (id: PeerId): string => id.slice(-6)
