/** What an entry orders, when it changes its mind, and what it makes of a peer's standing. */
import { expect, test } from "bun:test"
import type { Standing } from "@weft/mesh/election/ElectionProtocol"
import * as ElectionState from "@weft/mesh/election/ElectionState"
import * as PeerDirectory from "@weft/mesh/PeerDirectory"
import { Either } from "effect"
import { peerId, peerInfo } from "../peers.ts"

const [self, other, peer, second] = [peerId(101), peerId(102), peerId(1), peerId(2)]
const nothing: Standing = { lease: null, highestEpoch: 0, refused: null }
const followed = (entry: typeof self, epoch: number, issuedAtMs: number): Standing => ({
  lease: { entry, epoch, issuedAtMs, leftMs: 9_000 },
  highestEpoch: epoch,
  refused: null
})

/** A directory where each of these peers serves the first of `a` and `b` that is named, and has room for one. */
const directoryOf = (...peers: ReadonlyArray<readonly [id: typeof peer, serving: "a" | "b"]>) =>
  peers.reduce((directory, [id, serving]) => {
    const candidates = peerInfo(id, ["a", "b"]).models.map((model) => ({ model, needBytes: 6 }))
    const info = { ...peerInfo(id, [serving]), solo: { usableBytes: 10, candidates } }
    return Either.getOrThrow(PeerDirectory.register(directory, info, 1, 0))
  }, PeerDirectory.empty)

const look = (state: ElectionState.ElectionState, directory: PeerDirectory.PeerDirectory, now: number, b = 0) =>
  ElectionState.look(state, directory, new Map([["b", b]]), now)
const rolesOf = (state: ElectionState.ElectionState, id = peer) =>
  state.get(id)?.assignments.map(({ model, role }) => `${model} ${role}`)

test("a peer is ordered what it serves, and is leased from when it says so until its order runs out", () => {
  const state = look(ElectionState.empty, directoryOf([peer, "a"]), 1_000)
  const [order, ordered] = ElectionState.ask(state, self, peer, nothing, 1_000)
  expect(order).toMatchObject({ epoch: 1, issuedAtMs: 1_000, leaseMs: ElectionState.leaseMs })
  expect(rolesOf(state)).toEqual(["a worker", "b standby"])
  const leased = (one: ElectionState.ElectionState, now: number) => {
    const known = one.get(peer)
    return known !== undefined && ElectionState.isLeased(known, now)
  }
  expect(leased(ordered, 1_000)).toBe(false)
  const [again, renewed] = ElectionState.ask(ordered, self, peer, followed(self, 1, 1_000), 2_000)
  expect(again).toEqual({ ...order, issuedAtMs: 2_000 } as typeof order)
  expect([leased(renewed, 15_999), leased(renewed, 16_000)]).toEqual([true, false])
  expect(ElectionState.ask(state, self, second, nothing, 1_000)).toEqual([null, state])
})

test("an entry that begins anew goes on with a later epoch than the peer has heard", () => {
  const state = look(ElectionState.empty, directoryOf([peer, "a"]), 0)
  const [order] = ElectionState.ask(state, self, peer, { ...nothing, highestEpoch: 7 }, 0)
  expect(order?.epoch).toBe(8)
  const reused = { entry: self, epoch: 1, reason: "EpochReused" } as const
  const [next] = ElectionState.ask(state, self, peer, { ...followed(self, 1, 0), refused: reused }, 0)
  expect(next?.epoch).toBe(2)
})

test("a peer that another entry leads is given no order, and counts for what it serves", () => {
  const directory = directoryOf([peer, "a"], [second, "a"])
  const [none, state] = ElectionState.ask(
    look(ElectionState.empty, directoryOf([peer, "a"]), 0),
    self,
    peer,
    followed(other, 3, 0),
    0
  )
  expect(none).toBeNull()
  expect(state.get(peer)?.elsewhere).toEqual({ entry: other, untilMs: 9_000 })
  const looked = look(state, directory, 1_000)
  expect(rolesOf(looked, second)).toEqual(["a standby", "b worker"])
})

test("for demand alone a peer changes once a minute; for a model that lost its worker it changes at once", () => {
  const alone = directoryOf([peer, "a"])
  const moved = look(look(ElectionState.empty, alone, 100_000), alone, 100_000, 9)
  expect(rolesOf(moved)).toEqual(["a standby", "b worker"])
  const wanted = new Map([["a", 90]])
  const serving = directoryOf([peer, "b"])
  expect(rolesOf(ElectionState.look(moved, serving, wanted, 159_999))).toEqual(["a standby", "b worker"])
  expect(rolesOf(ElectionState.look(moved, serving, wanted, 160_000))).toEqual(["a worker", "b standby"])
  const fixed = Either.getOrThrow(PeerDirectory.register(serving, peerInfo(second, ["b"]), 1, 0))
  expect(rolesOf(look(moved, fixed, 101_000))).toEqual(["a worker", "b standby"])
})

test("an order that the peer vetoes is not repeated, and decided anew after a minute with a later epoch", () => {
  const directory = directoryOf([peer, "a"])
  const [order, state] = ElectionState.ask(look(ElectionState.empty, directory, 0), self, peer, nothing, 0)
  const vetoed: Standing = { ...nothing, refused: { entry: self, epoch: order?.epoch ?? 0, reason: "Memory" } }
  const [none, resting] = ElectionState.ask(state, self, peer, vetoed, 1_000)
  expect(none).toBeNull()
  expect(resting.get(peer)?.refused).toMatchObject({ reason: "Memory" })
  expect(ElectionState.ask(look(resting, directory, 30_000), self, peer, vetoed, 30_000)[0]).toBeNull()
  const [next] = ElectionState.ask(look(resting, directory, 61_000), self, peer, vetoed, 61_000)
  expect(next?.epoch).toBe(2)
  const [, unmoved] = ElectionState.ask(
    state,
    self,
    peer,
    { ...vetoed, refused: { entry: other, epoch: 1, reason: "Memory" } },
    1
  )
  expect(unmoved.get(peer)?.refused).toBeUndefined()
})

test("who left is forgotten", () => {
  const directory = directoryOf([peer, "a"])
  const left = PeerDirectory.leave(directory, peer, 1)
  expect(look(look(ElectionState.empty, directory, 0), left, 1).size).toBe(0)
})
