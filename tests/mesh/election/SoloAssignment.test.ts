/** Who serves what: a model without a worker comes first, nothing overflows, nothing moves without a reason. */
import { expect, test } from "bun:test"
import * as SoloAssignment from "@weft/mesh/election/SoloAssignment"
import { FastCheck } from "effect"
import { peerId } from "../peers.ts"

interface Given {
  readonly usable: number
  readonly models: Readonly<Record<string, number>>
  readonly workers?: ReadonlyArray<string>
  readonly ready?: ReadonlyArray<string>
  readonly isRested?: boolean
  readonly file?: string
}

const snapshot = (
  peers: ReadonlyArray<Given>,
  more: {
    readonly fixed?: Readonly<Record<string, number>>
    readonly requests?: Readonly<Record<string, number>>
    readonly busy?: Readonly<Record<string, number>>
  } = {}
): SoloAssignment.Snapshot => ({
  peers: peers.map(({ file, isRested, models, ready, usable, workers }, index) => ({
    id: peerId(index + 1),
    usableBytes: usable,
    candidates: Object.entries(models).map(([model, needBytes]) => ({ model, sha256: file ?? "0", needBytes })),
    workers: new Set(workers ?? []),
    ready: new Set(ready ?? workers ?? []),
    isRested: isRested ?? true
  })),
  fixed: new Map(Object.entries(more.fixed ?? {})),
  files: new Map(),
  demand: new Map(
    ["a", "b", "c", "d"].map((model) => [
      model,
      { requests: more.requests?.[model] ?? 0, busy: more.busy?.[model] ?? 0 }
    ])
  ),
  slots: new Map(["a", "b", "c", "d"].map((model) => [model, 4]))
})

/** The roles of each peer by model, one letter each: `w`orker, `s`tandby, `d`ropped. */
const roles = (given: SoloAssignment.Snapshot) =>
  [...SoloAssignment.assign(given).values()].map((all) => all.map(({ model, role }) => `${model}${role[0]}`).join(" "))

test("a peer goes on as it is where nothing is to be won", () => {
  const models = { a: 6, b: 6 }
  expect(roles(snapshot([{ usable: 10, models, workers: ["a"] }]))).toEqual(["aw bs"])
  expect(roles(snapshot([{ usable: 10, models, workers: ["a"] }], { fixed: { b: 1 } }))).toEqual(["aw bs"])
})

test("a model that nobody serves has a worker in free room, or in place of one that is served elsewhere", () => {
  expect(roles(snapshot([{ usable: 12, models: { a: 6, b: 6 }, workers: ["a"] }]))).toEqual(["aw bw"])
  const one = { usable: 10, models: { a: 6, b: 6 }, workers: ["a"], isRested: false }
  expect(roles(snapshot([one], { fixed: { a: 1 } }))).toEqual(["as bw"])
  const two = snapshot([one, { usable: 10, models: { a: 6 }, workers: ["a"] }])
  expect(roles(two)).toEqual(["as bw", "aw"])
})

test("what stands in the way is served elsewhere first, and gives its place only when that is ready", () => {
  const first = { usable: 10, models: { a: 6, b: 6 }, workers: ["a"] }
  const other = { usable: 10, models: { a: 6 } }
  expect(roles(snapshot([first, other]))).toEqual(["aw bs", "aw"])
  expect(roles(snapshot([first, { ...other, workers: ["a"], ready: [] }]))).toEqual(["aw bs", "aw"])
  expect(roles(snapshot([first, { ...other, workers: ["a"] }]))).toEqual(["as bw", "aw"])
})

test("where one of two can be served it is the one wanted more than twice as much, once the peer has rested", () => {
  const peer = { usable: 10, models: { a: 6, b: 6 }, workers: ["a"] }
  expect(roles(snapshot([peer], { requests: { a: 5, b: 10 } }))).toEqual(["aw bs"])
  expect(roles(snapshot([peer], { requests: { a: 5, b: 11 } }))).toEqual(["as bw"])
  expect(roles(snapshot([{ ...peer, isRested: false }], { requests: { a: 5, b: 11 } }))).toEqual(["aw bs"])
})

test("a model whose workers are full has more of them, from free room and from what others have too many of", () => {
  const idle = { usable: 10, models: { a: 6, b: 6 } }
  expect(roles(snapshot([idle], { fixed: { a: 1, b: 1 }, busy: { a: 5 } }))).toEqual(["aw bs"])
  expect(roles(snapshot([{ ...idle, workers: ["b"] }], { fixed: { a: 1, b: 1 }, busy: { a: 5 } }))).toEqual(["aw bs"])
  const tight = { fixed: { a: 1, b: 1 }, busy: { a: 5, b: 5 } }
  expect(roles(snapshot([{ ...idle, workers: ["b"] }], tight))).toEqual(["as bw"])
})

test("two keep a model ready, the rest are not counted on, and who holds another file is never asked", () => {
  const idle = { usable: 10, models: { a: 6 } }
  const all = snapshot([idle, idle, idle, idle, { ...idle, file: "1" }], { fixed: { a: 1 } })
  expect(roles(all)).toEqual(["as", "as", "ad", "ad", "ad"])
  const why = [...SoloAssignment.assign(all).values()].map(([one]) => one?.why)
  expect(why[0]).toContain("loss of its worker")
  expect(why[3]).toContain("2 other peers")
  expect(why[4]).toContain("another")
  const large = SoloAssignment.assign(snapshot([{ usable: 2 ** 20, models: { a: 2 ** 22 } }]))
  expect([...large.values()][0]?.[0]).toMatchObject({ role: "dropped", why: expect.stringContaining("4 MiB") })
})

const given = FastCheck.record({
  usable: FastCheck.integer({ min: 1, max: 20 }),
  models: FastCheck.dictionary(FastCheck.constantFrom("a", "b", "c", "d"), FastCheck.integer({ min: 1, max: 12 })),
  workers: FastCheck.subarray(["a", "b", "c", "d"]),
  isRested: FastCheck.boolean()
})
const counts = FastCheck.dictionary(FastCheck.constantFrom("a", "b", "c", "d"), FastCheck.nat(9))

test("no memory overflows, each candidate has one role with a reason, and no model goes without for nothing", () => {
  FastCheck.assert(
    FastCheck.property(FastCheck.array(given, { maxLength: 6 }), counts, counts, (peers, busy, fixed) => {
      const one = snapshot(peers, { busy, fixed })
      const assigned = SoloAssignment.assign(one)
      const workers = (model: string) =>
        (fixed[model] ?? 0) +
        [...assigned.values()].flat().filter((all) => all.model === model && all.role === "worker").length
      for (const peer of one.peers) {
        const all = assigned.get(peer.id) ?? []
        expect(all.map(({ model }) => model)).toEqual(peer.candidates.map(({ model }) => model))
        expect(all.every(({ why }) => why.length > 10 && why.length <= 256)).toBe(true)
        const taken = peer.candidates.filter((_, index) => all[index]?.role === "worker")
        const free = taken.reduce((left, { needBytes }) => left - needBytes, peer.usableBytes)
        expect(free).toBeGreaterThanOrEqual(0)
        for (const { model, needBytes } of peer.candidates) {
          if (workers(model) === 0) expect(needBytes).toBeGreaterThan(free)
        }
      }
    }),
    { numRuns: 3_000 }
  )
})
