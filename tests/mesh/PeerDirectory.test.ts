/** Who is in the mesh: registrations, leaves, silence and bounds, as single cases and as generated histories. */
import { expect } from "bun:test"
import * as Directory from "@weft/mesh/PeerDirectory"
import type { PeerId } from "@weft/mesh/PeerId"
import { Effect, Either, FastCheck } from "effect"
import { it } from "../support/effect.ts"
import { peerId, peerInfo } from "./peers.ts"

const ready = { state: "ready", models: [] } as const
const register = (directory: Directory.PeerDirectory, id: PeerId, link: number, now: number, models = ["tiny"]) =>
  Either.getOrThrow(Directory.register(directory, peerInfo(id, models), link, now))

it.effect("a peer is there from its registration to its leave, its model is known for longer", () =>
  Effect.sync(() => {
    const there = register(Directory.empty, peerId(1), 1, 1_000)
    expect(Directory.serving(there, "tiny").map((peer) => peer.info.id)).toEqual([peerId(1)])
    const gone = Directory.leave(there, peerId(1), 1)
    expect(Directory.serving(gone, "tiny")).toEqual([])
    expect(gone.models.get("tiny")?.sinceMs).toBe(1_000)
    expect(gone.models.has("other")).toBe(false)
  })
)

it.effect("a draining peer and a model that is not ready serve nothing", () =>
  Effect.sync(() => {
    const there = register(Directory.empty, peerId(1), 1, 0)
    const model = { id: "tiny", ready: true, active: 0, queued: 0 }
    const beat = (load: Parameters<typeof Directory.heartbeat>[3]) =>
      Directory.serving(Directory.heartbeat(there, peerId(1), 1, load, 1), "tiny").length
    expect(beat({ state: "ready", models: [model] })).toBe(1)
    expect(beat({ state: "draining", models: [model] })).toBe(0)
    expect(beat({ state: "ready", models: [{ ...model, ready: false }] })).toBe(0)
  })
)

it.effect("a peer that is silent for too long is removed, one that beats stays", () =>
  Effect.sync(() => {
    let directory = register(register(Directory.empty, peerId(1), 1, 0), peerId(2), 2, 0)
    directory = Directory.heartbeat(directory, peerId(2), 2, ready, 5_000)
    directory = Directory.expire(directory, 6_000, 6_001)
    expect([...directory.peers.keys()]).toEqual([peerId(2)])
    expect(Directory.expire(directory, 6_000, 11_000)).toBe(directory)
  })
)

it.effect("the loss of an old link does not remove a peer that came back over a new one", () =>
  Effect.sync(() => {
    const back = register(register(Directory.empty, peerId(1), 1, 0), peerId(1), 2, 10)
    expect(Directory.leave(back, peerId(1), 1)).toBe(back)
    expect(Directory.heartbeat(back, peerId(1), 1, ready, 20)).toBe(back)
    const stale = Directory.register(back, peerInfo(peerId(1), []), 1, 30)
    expect(Either.isLeft(stale) && stale.left.reason).toBe("StaleLink")
  })
)

it.effect("models and peers are bounded: served models are never forgotten for unserved ones", () =>
  Effect.sync(() => {
    let directory = register(Directory.empty, peerId(0), 1, 0, ["kept"])
    for (let i = 1; i <= Directory.knownModelsMax + 10; i++) {
      directory = Directory.leave(register(directory, peerId(1), i, i, [`model-${i}`]), peerId(1), i)
    }
    expect(directory.models.size).toBe(Directory.knownModelsMax)
    expect(directory.models.has("kept")).toBe(true)
  })
)

/** One thing that happens to a directory; peers and links are drawn from a few so that they collide. */
const step = FastCheck.record({
  kind: FastCheck.constantFrom("register", "heartbeat", "leave", "expire"),
  peer: FastCheck.integer({ min: 0, max: 4 }),
  link: FastCheck.integer({ min: 1, max: 6 }),
  afterMs: FastCheck.integer({ min: 0, max: 4_000 })
})

it.prop(
  "whatever happens, each peer stands with the newest link it registered over and was seen within the bound",
  FastCheck.array(step, { maxLength: 60 }),
  (steps) =>
    Effect.sync(() => {
      const silenceMsMax = 6_000
      let directory = Directory.empty
      let now = 0
      const newest = new Map<PeerId, number>()
      for (const { kind, peer, link, afterMs } of steps) {
        now += afterMs
        const id = peerId(peer)
        if (kind === "register") {
          const next = Directory.register(directory, peerInfo(id, ["tiny"]), link, now)
          if (Either.isRight(next)) {
            directory = next.right
            newest.set(id, link)
          }
        } else if (kind === "heartbeat") directory = Directory.heartbeat(directory, id, link, ready, now)
        else if (kind === "leave") directory = Directory.leave(directory, id, link)
        else {
          directory = Directory.expire(directory, silenceMsMax, now)
          for (const entry of directory.peers.values()) expect(now - entry.lastSeenMs).toBeLessThanOrEqual(silenceMsMax)
        }
        for (const [key, entry] of directory.peers) {
          expect(entry.info.id).toBe(key)
          expect(entry.link).toBe(newest.get(key) ?? -1)
          expect(entry.lastSeenMs).toBeLessThanOrEqual(now)
        }
      }
    })
)
