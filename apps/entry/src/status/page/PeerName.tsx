/** Who a peer is: the name its owner gave it, the end of its id, and the labels by which requests find it. */

import { shortId } from "../../page/Format.ts"
import type { ServingPeer } from "../StatusDocument.ts"

/** Shows a peer; the whole id is a title. */
export const PeerName = ({ id, labels, name }: Pick<ServingPeer, "id" | "labels" | "name">) => (
  <>
    <bdi>{name || "unnamed"}</bdi>{" "}
    <code class="soft" title={id}>
      {shortId(id)}
    </code>
    {(labels.region !== null || labels.trust !== null) && (
      <span class="labels">
        {" "}
        {labels.region !== null && <Label name="region" value={labels.region} />}{" "}
        {labels.trust !== null && <Label name="trust" value={labels.trust} />}
      </span>
    )}
  </>
)

// internal

const Label = ({ name, value }: { readonly name: string; readonly value: string }) => (
  <span>
    {name} <b>{value}</b>
  </span>
)
