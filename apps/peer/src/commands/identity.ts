/** `peer identity`: who this peer is. Makes the identity where there is none yet. */
import { Command } from "@effect/cli"
import * as Identity from "@weft/mesh/Identity"
import { Effect } from "effect"
import * as PeerConfig from "../PeerConfig.ts"
import * as Terminal from "../Terminal.ts"

/** Prints the id and where its key lies. */
export const identity = Command.make(
  "identity",
  { dataDirectory: PeerConfig.dataDirectory, json: PeerConfig.json },
  Effect.fn("peer.identity")(function* ({ dataDirectory, json }) {
    const { id } = yield* Identity.load(dataDirectory)
    yield* Terminal.print(json, { id, key: `${dataDirectory}/identity.pem` }, (found) => [
      `id   ${found.id}`,
      `key  ${found.key}`
    ])
  })
).pipe(Command.withDescription("print this peer's id"))
