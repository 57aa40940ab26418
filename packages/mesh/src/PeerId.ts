/** Who a process is: the Ed25519 public key it signs with, written as a `did:key`. */
import { Schema } from "effect"

/** Represents a peer's id: `did:key:z` + base58btc(0xed01 ‖ 32 public key bytes), always 56 characters. */
export const PeerId = Schema.String.pipe(
  Schema.pattern(/^did:key:z6Mk[1-9A-HJ-NP-Za-km-z]{44}$/),
  Schema.brand("PeerId")
)
export type PeerId = typeof PeerId.Type
