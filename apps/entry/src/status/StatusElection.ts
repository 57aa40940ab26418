/**
 * Whom the entry elected to serve each model alone, who keeps it ready, and why, as the status tells it. Pure; part of
 * `StatusModel.ts`. Peers that another entry leads now are not in it: what they are is that entry's decision.
 */
import type { SoloCandidate } from "@weft/mesh/election/ElectionProtocol"
import type { Elected, ElectionState } from "@weft/mesh/election/ElectionState"
import type { Peer, PeerDirectory } from "@weft/mesh/PeerDirectory"
import type { TrustList } from "../routing/TrustList.ts"
import type { ElectedPeer } from "./StatusDocument.ts"
import { labelsOf, nameOf, plain } from "./StatusPeer.ts"

/** Represents what the elections are told of. */
export interface ElectionInputs {
  readonly nowMs: number
  readonly directory: PeerDirectory
  readonly elections: ElectionState
  readonly trust: TrustList
}

/** Represents the elections of one model. */
export interface ModelElection {
  /** What a peer that is counted on says of its file; undefined where nobody is. */
  readonly model: SoloCandidate["model"] | undefined
  /** Workers first, then standbys, then those that are not counted on; each by name. */
  readonly elected: ReadonlyArray<ElectedPeer>
}

/** Returns the elections by model. */
export const electionsOf = (inputs: ElectionInputs): ReadonlyMap<string, ModelElection> => {
  const roles = [...inputs.elections].flatMap(([id, elected]) => {
    const peer = inputs.directory.peers.get(id)
    return peer === undefined || isLedElsewhere(elected, inputs.nowMs) ? [] : rolesOf(inputs, peer, elected)
  })
  return new Map([...Map.groupBy(roles, ({ name }) => name)].map(([name, all]) => [name, toElection(all)]))
}

// internal

/** What one peer is for the model of this name. */
interface NamedRole {
  readonly name: string
  readonly elected: ElectedPeer
  readonly model: SoloCandidate["model"] | undefined
}

const isLedElsewhere = ({ elsewhere }: Elected, nowMs: number): boolean =>
  elsewhere !== undefined && nowMs < elsewhere.untilMs

const rolesOf = ({ trust }: ElectionInputs, peer: Peer, { assignments }: Elected): ReadonlyArray<NamedRole> =>
  assignments.map(({ model: name, role, why }) => ({
    name,
    elected: { id: peer.info.id, name: nameOf(peer), role, why: plain(why), labels: labelsOf(peer, trust) },
    model:
      role === "dropped"
        ? undefined
        : peer.info.solo?.candidates.find((candidate) => candidate.model.id === name)?.model
  }))

const toElection = (roles: ReadonlyArray<NamedRole>): ModelElection => ({
  model: roles.find(({ model }) => model !== undefined)?.model,
  elected: roles.map(({ elected }) => elected).toSorted(byRole)
})

const roleOrder = { worker: 0, standby: 1, dropped: 2 } as const

const byRole = (one: ElectedPeer, other: ElectedPeer): number =>
  roleOrder[one.role] - roleOrder[other.role] || one.name.localeCompare(other.name) || (one.id < other.id ? -1 : 1)
