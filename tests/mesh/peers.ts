/** Peers for tests of the directory and of the election: ids that differ by a number, info with given models. */
import * as PeerId from "@weft/mesh/PeerId"
import type { PeerInfo } from "@weft/mesh/PeerInfo"

/** Returns the id of the peer whose public key is `number` in its last byte. */
export const peerId = (number: number): PeerId.PeerId =>
  PeerId.fromPublicKey(new Uint8Array(32).fill(7).with(31, number))

/** Returns capabilities with these models, each of `slots` slots. */
export const peerInfo = (id: PeerId.PeerId, models: ReadonlyArray<string>, slots = 2): PeerInfo => ({
  id,
  name: "test",
  version: "0.0.0",
  memoryBytes: 1_000_000,
  threads: 1,
  models: models.map((model) => ({
    id: model,
    sha256: "0".repeat(64),
    sizeBytes: 1,
    architecture: "llama",
    quantization: "F16",
    contextTokens: 512,
    slots
  }))
})
