/** What the status says of elections and labels: every role with its reason, and nothing that another entry decides. */
import { expect, test } from "bun:test"
import { peersShownMax } from "@weft/entry/status/StatusDocument"
import { type StatusInputs, statusOf } from "@weft/entry/status/StatusModel"
import type { Role } from "@weft/mesh/election/ElectionProtocol"
import type { Elected } from "@weft/mesh/election/ElectionState"
import type { Peer } from "@weft/mesh/PeerDirectory"
import { busyMesh, directoryOf, electionsOf, labelled, model, nowMs, peer, peerId } from "./busyMesh.ts"

const statusWith = (peers: ReadonlyArray<Peer>, more: Partial<StatusInputs> = {}) =>
  statusOf({ ...busyMesh, elections: new Map(), directory: directoryOf(peers), ...more })

/** A peer that has these models on disk and serves none of them yet. */
const elective = (number: number, name: string, ...ids: ReadonlyArray<string>): Peer => {
  const one = peer(number, name, [])
  const candidates = ids.map((id) => ({ model: model(id), needBytes: 5 }))
  return { ...one, info: { ...one.info, solo: { usableBytes: 9, candidates } } }
}

const assigned = (model: string, role: Role, why = `is ${role}`) => ({ model, role, why })

test("workers come first, then standbys, then those not counted on, each with the election's reason", () => {
  const peers = ["dora", "cora", "ben", "ada"].map((name, index) => elective(index + 1, name, "m"))
  const roles: ReadonlyArray<Role> = ["standby", "dropped", "worker", "standby"]
  const elections = electionsOf(roles.map((role, index) => [index + 1, [assigned("m", role)]]))
  const { elected, electedCount } = statusWith(peers, { elections }).models[0] ?? {}
  expect(elected?.map(({ name, role, why }) => [name, role, why])).toEqual([
    ["ben", "worker", "is worker"],
    ["ada", "standby", "is standby"],
    ["dora", "standby", "is standby"],
    ["cora", "dropped", "is dropped"]
  ])
  expect(electedCount).toBe(4)
})

test("a model that is only kept ready has a row; one that nobody is counted on for has none", () => {
  const elections = electionsOf([[1, [assigned("ready", "standby"), assigned("other", "dropped")]]])
  const status = statusWith([elective(1, "ada", "ready", "other")], { elections })
  expect(status.models).toMatchObject([
    { id: "ready", architecture: "qwen3", mode: null, peers: [], peerCount: 0, elected: [{ name: "ada" }] }
  ])
  expect(status.modelCount).toBe(1)
})

test("a model that nobody had to be elected for says so with an empty list", () => {
  expect(statusWith([peer(1, "ada", [model("m")])]).models[0]).toMatchObject({ elected: [], electedCount: 0 })
})

test("what a peer does for another entry, and who has left, is not told as elected here", () => {
  const led = (untilMs: number): Partial<Elected> => ({ elsewhere: { entry: peerId(9), untilMs } })
  const [one] = electionsOf([[1, [assigned("m", "standby")]]])
  if (one === undefined) throw new Error("one was assigned")
  const known = (more: Partial<Elected>) => ({ elections: new Map([[one[0], { ...one[1], ...more }]]) })
  const there = [elective(1, "ada", "m")]
  expect(statusWith(there, known(led(nowMs + 1))).models).toEqual([])
  expect(statusWith(there, known(led(nowMs))).models.length).toBe(1)
  expect(statusWith([], known({})).models).toEqual([])
})

test("the list is bounded and counted, and its words hold nothing that could mislead", () => {
  const numbers = Array.from({ length: peersShownMax + 3 }, (_, index) => index + 1)
  const elections = electionsOf(numbers.map((number) => [number, [assigned("m", "standby", "a\u202Eb\n")]]))
  const peers = numbers.map((number) => elective(number, "a\u0000b", "m"))
  const { elected = [], electedCount } = statusWith(peers, { elections }).models[0] ?? {}
  expect([elected.length, electedCount]).toEqual([peersShownMax, peersShownMax + 3])
  expect(elected[0]).toMatchObject({ name: "ab", why: "ab" })
})

test("a region is the peer's word; trust is told where the entry vouches for it, of stages too", () => {
  const stages = [
    { peer: peerId(1), from: 0, to: 5 },
    { peer: peerId(2), from: 5, to: 8 }
  ]
  const labels = { region: "eu-west", trust: "staff" }
  const peers = [labelled(peer(1, "host", [model("m", { stages })]), labels), labelled(peer(2, "tail", []), labels)]
  const trust = new Map([[peerId(2), new Set(["staff"])]])
  const { models } = statusWith([...peers, peer(3, "none", [model("n")])], { trust })
  expect(models.map(({ peers }) => peers.map(({ labels }) => labels))).toEqual([
    [
      { region: "eu-west", trust: null },
      { region: "eu-west", trust: "staff" }
    ],
    [{ region: null, trust: null }]
  ])
})
