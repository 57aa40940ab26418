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

const sha256s = ["a", "b", "c"].map((digit) => digit.repeat(64))
const [shaA = "", shaB = ""] = sha256s
const tiny = "tiny"

/** Returns `directory` after a peer registered over its next link with one model `tiny` that it says this of. */
const announce = (directory: Directory.PeerDirectory, id: PeerId, changes: object, link = 1, now = 0) => {
  const info = peerInfo(id, [tiny])
  const models = info.models.map((model) => ({ ...model, ...changes }))
  return Either.getOrThrow(Directory.register(directory, { ...info, models }, link, now))
}
const served = (directory: Directory.PeerDirectory) => Directory.serving(directory, tiny).map((peer) => peer.info.id)
const described = (directory: Directory.PeerDirectory) => directory.models.get(tiny)?.description

it.effect("a peer that calls another file by a model's name neither describes it nor is asked for it", () =>
  Effect.sync(() => {
    const first = announce(Directory.empty, peerId(1), { sha256: shaA, contextTokens: 512 })
    const second = announce(first, peerId(2), { sha256: shaB, contextTokens: 9_999 })
    expect(described(second)).toMatchObject({ sha256: shaA, contextTokens: 512 })
    expect(served(second)).toEqual([peerId(1)])
    expect(Directory.holding(second, tiny).length).toBe(1)
    const third = announce(second, peerId(3), { sha256: shaA, contextTokens: 1 })
    expect(described(third)?.contextTokens).toBe(512)
    expect(served(third)).toEqual([peerId(1), peerId(3)])
    const loaded = { state: "ready", models: [{ id: tiny, ready: true, active: 0, queued: 0 }] } as const
    expect(served(Directory.heartbeat(third, peerId(2), 1, loaded, 1))).toEqual([peerId(1), peerId(3)])
  })
)

it.effect(
  "a description goes with the last peer of its file, and the file that was registered next takes the name",
  () =>
    Effect.sync(() => {
      let directory = announce(Directory.empty, peerId(1), { sha256: shaA, contextTokens: 512 })
      directory = announce(directory, peerId(2), { sha256: shaB })
      directory = announce(directory, peerId(3), { sha256: shaA })
      directory = Directory.leave(directory, peerId(1), 1)
      expect([described(directory)?.sha256, served(directory)]).toEqual([shaA, [peerId(3)]])
      directory = Directory.leave(directory, peerId(3), 1)
      expect([described(directory)?.sha256, served(directory)]).toEqual([shaB, [peerId(2)]])
      directory = Directory.expire(directory, 1, 100)
      expect([described(directory)?.sha256, served(directory)]).toEqual([shaB, []])
      directory = announce(directory, peerId(1), { sha256: shaA }, 2)
      expect([described(directory)?.sha256, served(directory)]).toEqual([shaA, [peerId(1)]])
    })
)

it.effect("a peer that dials again keeps its file's name from others, and may say anew what it alone serves", () =>
  Effect.sync(() => {
    const first = announce(Directory.empty, peerId(1), { sha256: shaA, contextTokens: 512 })
    const rivals = announce(first, peerId(2), { sha256: shaB })
    const again = announce(rivals, peerId(1), { sha256: shaA, contextTokens: 1_024 }, 2)
    expect([described(again)?.contextTokens, served(again)]).toEqual([1_024, [peerId(1)]])
    const changed = announce(again, peerId(1), { sha256: shaB }, 3)
    expect([described(changed)?.sha256, served(changed)]).toEqual([shaB, [peerId(2), peerId(1)]])
    const without = Either.getOrThrow(Directory.register(again, peerInfo(peerId(1), []), 3, 0))
    expect([described(without)?.sha256, served(without)]).toEqual([shaB, [peerId(2)]])
  })
)

it.effect("a claim of many slots counts for the bound", () =>
  Effect.sync(() => {
    const there = announce(Directory.empty, peerId(1), { slots: Number.MAX_SAFE_INTEGER })
    expect(described(there)?.slots).toBe(Directory.slotsMax)
    expect(Directory.slotsServing(there, tiny)).toBe(Directory.slotsMax)
    expect(Directory.slotsServing(announce(there, peerId(1), { slots: 3 }, 2), tiny)).toBe(3)
  })
)

it.prop(
  "whatever files are announced, a name means the file that some peer served without a break, and those serve it alone",
  FastCheck.array(
    FastCheck.record({
      kind: FastCheck.constantFrom("register", "register", "leave", "expire"),
      peer: FastCheck.integer({ min: 0, max: 4 }),
      sha256: FastCheck.constantFrom(undefined, ...sha256s),
      contextTokens: FastCheck.integer({ min: 1, max: 3 }),
      slots: FastCheck.constantFrom(1, 255, 256, 257, 2 ** 31),
      afterMs: FastCheck.integer({ min: 0, max: 3_000 })
    }),
    { maxLength: 60 }
  ),
  (steps) =>
    Effect.sync(() => {
      let directory = Directory.empty
      let now = 0
      /** What the peers that are there hold, told apart from the directory's own account. */
      const held = (at: Directory.PeerDirectory, sha256: string | undefined) =>
        new Set(
          [...at.peers].flatMap(([id, { info }]) => (info.models.some((model) => model.sha256 === sha256) ? [id] : []))
        )
      for (const [link, { afterMs, contextTokens, kind, peer, sha256, slots }] of steps.entries()) {
        now += afterMs
        const before = directory
        const id = peerId(peer)
        if (kind === "leave") directory = Directory.leave(before, id, before.peers.get(id)?.link ?? 0)
        else if (kind === "expire") directory = Directory.expire(before, 5_000, now)
        else if (sha256 !== undefined) directory = announce(before, id, { sha256, contextTokens, slots }, link, now)
        else directory = Either.getOrThrow(Directory.register(before, peerInfo(id, []), link, now))
        const [old, current] = [described(before), described(directory)]
        const holders = held(directory, current?.sha256)
        expect(new Set(served(directory))).toEqual(holders)
        expect(holders.size === 0).toBe([...directory.peers.values()].every(({ info }) => info.models.length === 0))
        const stayed = [...held(before, old?.sha256)].filter((one) => held(directory, old?.sha256).has(one))
        if (stayed.length > 0) expect(current?.sha256).toBe(old?.sha256 ?? "")
        if (stayed.some((one) => one !== id)) expect(current).toEqual(old)
        for (const { info } of directory.peers.values()) {
          for (const model of info.models) expect(model.slots).toBeLessThanOrEqual(Directory.slotsMax)
        }
      }
    }),
  { runs: 300 }
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
