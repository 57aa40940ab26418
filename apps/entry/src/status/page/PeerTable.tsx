/** The peers of one model, each with its own figures. */

import { Figure, Missing } from "../../page/Figure.tsx"
import { duration, threeDigits } from "../../page/Format.ts"
import type { ServingPeer } from "../StatusDocument.ts"
import { Grade } from "./Grade.tsx"
import { PeerName } from "./PeerName.tsx"
import { TableHead } from "./TableHead.tsx"

/** Shows the peers as a table, which is a list of cards where there is little room. */
export const PeerTable = ({
  peers,
  peerCount
}: {
  readonly peers: ReadonlyArray<ServingPeer>
  readonly peerCount: number
}) => (
  <>
    <table class="peers">
      <TableHead columns={["Peer", "State", "Through mesh", "Native", "Efficiency", "First text", "Round trip"]} />
      <tbody>
        {peers.map((peer) => (
          <PeerRow key={peer.id} {...peer} />
        ))}
      </tbody>
    </table>
    {peerCount > peers.length && <p class="soft">and {peerCount - peers.length} more</p>}
  </>
)

// internal

const PeerRow = ({ id, labels, name, ...peer }: ServingPeer) => {
  const { active, efficiency, native, queued, rttMs, slots, state, through } = peer
  return (
    <tr>
      <th scope="row">
        <PeerName id={id} labels={labels} name={name} />
      </th>
      <td data-label="State">
        {state}
        {slots > 0 && (
          <span class="soft">
            {" "}
            {active} of {slots} busy{queued > 0 && `, ${queued} wait`}
          </span>
        )}
      </td>
      <td data-label="Through mesh">
        {through?.tokensPerSecond == null ? (
          <Missing />
        ) : (
          <Figure value={threeDigits(through.tokensPerSecond.p50)} unit="tok/s" />
        )}
      </td>
      <td data-label="Native">
        {native === null ? <Missing /> : <Figure value={threeDigits(native.tokensPerSecond)} unit="tok/s" />}
      </td>
      <td data-label="Efficiency">
        <Grade {...efficiency} />
      </td>
      <td data-label="First text">{through === null ? <Missing /> : <Figure {...duration(through.ttftMs.p50)} />}</td>
      <td data-label="Round trip">{rttMs === null ? <Missing /> : <Figure {...duration(rttMs)} />}</td>
    </tr>
  )
}
