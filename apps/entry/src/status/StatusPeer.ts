/** What the status says of any peer whatever its part: a name that misleads nobody, and labels that count. Pure. */
import type { Peer } from "@weft/mesh/PeerDirectory"
import * as TrustList from "../routing/TrustList.ts"
import type { PeerLabels } from "./StatusDocument.ts"

/** Returns the text without control and direction characters, which could make it look like another. */
export const plain = (text: string): string => text.replace(/\p{C}/gu, "")

/** Returns the name that its owner gave the peer; empty where nothing of it can be shown. */
export const nameOf = ({ info }: Peer): string => plain(info.name)

/** Returns the labels by which requests find the peer: its own word for the region, the operator's for trust. */
export const labelsOf = (peer: Peer | undefined, trust: TrustList.TrustList): PeerLabels => {
  const carried = peer === undefined ? {} : TrustList.carried(peer.info, trust)
  return { region: carried.region ?? null, trust: carried.trust ?? null }
}
