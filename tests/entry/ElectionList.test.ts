/** What a client reads of the elections. */
import { expect } from "bun:test"
import * as ElectionState from "@weft/mesh/election/ElectionState"
import * as PeerDirectory from "@weft/mesh/PeerDirectory"
import { Effect, Either } from "effect"
import { peerId, peerInfo } from "../mesh/peers.ts"
import { it } from "../support/effect.ts"
import { isEmptyAndKeyed } from "./listing.ts"
import { open, send } from "./support.ts"

it.live("/api/elections shows of each electing peer what it is for which model, why, and whom it follows", () =>
  Effect.gen(function* () {
    const candidates = peerInfo(peerId(1), ["a", "b"]).models.map((model) => ({ model, needBytes: 6 }))
    const info = { ...peerInfo(peerId(1), ["a"]), solo: { usableBytes: 10, candidates } }
    const directory = Either.getOrThrow(PeerDirectory.register(PeerDirectory.empty, info, 1, 0))
    const elections = ElectionState.look(ElectionState.empty, directory, new Map(), 0)
    const { url } = yield* open({ elections })
    const { json, status } = yield* send(`${url}/api/elections`)
    expect(status).toBe(200)
    expect(json.data).toEqual([
      {
        peer: peerId(1),
        epoch: 1,
        lease: null,
        elsewhere: null,
        refused: null,
        changed: null,
        models: [
          { model: "a", role: "worker", why: expect.stringContaining("serves it") },
          { model: "b", role: "standby", why: expect.stringContaining("no room beside a") }
        ]
      }
    ])
  })
)

it.live("without electing peers the list is empty, and where keys are needed it needs one", () =>
  isEmptyAndKeyed("/api/elections")
)
