/** Who was elected to serve one model alone, who keeps it ready, and why each of them. */

import { count } from "../../page/Format.ts"
import type { ElectedPeer } from "../StatusDocument.ts"
import { PeerName } from "./PeerName.tsx"
import { TableHead } from "./TableHead.tsx"

/** Shows the elected as a table, which is a list of cards where there is little room. */
export const ElectionTable = ({
  elected,
  electedCount
}: {
  readonly elected: ReadonlyArray<ElectedPeer>
  readonly electedCount: number
}) => (
  <>
    <table class="peers elected">
      <TableHead columns={["Peer", "Elected", "Why"]} />
      <tbody>
        {elected.map((peer) => (
          <tr key={peer.id}>
            <th scope="row">
              <PeerName {...peer} />
            </th>
            <td data-label="Elected">
              <RoleName role={peer.role} />
            </td>
            <td data-label="Why">{peer.why}</td>
          </tr>
        ))}
      </tbody>
    </table>
    {electedCount > elected.length && <p class="soft">and {count(electedCount - elected.length)} more</p>}
  </>
)

// internal

/** A dropped peer is not at fault: nobody counts on it for this one model. */
const words = { worker: "worker", standby: "standby", dropped: "not counted on" } as const

/** Filled for who serves, a ring for who could, a line for who is left out. */
const RoleName = ({ role }: Pick<ElectedPeer, "role">) => (
  <span class={`role ${role}`}>
    <svg class="role-mark" viewBox="0 0 10 10" aria-hidden="true">
      {role === "dropped" ? <path d="M1.5 5h7" /> : <circle cx="5" cy="5" r="3.5" />}
    </svg>
    {words[role]}
  </span>
)
