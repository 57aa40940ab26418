/** The status document as a function of what the entry knows: modes, stages, grades, bounds, what it must not say. */
import { expect, test } from "bun:test"
import { modelsShownMax, peersShownMax, StatusDocument } from "@weft/entry/status/StatusDocument"
import { efficiencyOf, type StatusInputs, statusOf } from "@weft/entry/status/StatusModel"
import type { Peer } from "@weft/mesh/PeerDirectory"
import { Effect, FastCheck, Schema } from "effect"
import { it } from "../../support/effect.ts"
import { busyMesh, directoryOf, figures, model, native, peer, peerId } from "./busyMesh.ts"

const stages = [
  { peer: peerId(1), from: 0, to: 5 },
  { peer: peerId(2), from: 5, to: 8 }
]

const nothingMeasured: StatusInputs["performance"] = { of: () => undefined, ofModel: () => undefined }

const statusWith = (peers: ReadonlyArray<Peer>, more: Partial<StatusInputs> = {}) =>
  statusOf({ ...busyMesh, performance: nothingMeasured, directory: directoryOf(peers), ...more })

/** The one model of the status of these peers. */
const only = (peers: ReadonlyArray<Peer>, more: Partial<StatusInputs> = {}) => {
  const [found, ...others] = statusWith(peers, more).models
  if (found === undefined || others.length > 0) throw new Error("not one model")
  return found
}

const state = (one: Peer, state: "ready" | "loading" | "draining"): Peer => ({
  ...one,
  load: {
    state: state === "draining" ? "draining" : "ready",
    models: one.load.models.map((load) => ({ ...load, ready: state !== "loading" }))
  }
})

const states = ["ready", "loading", "draining"] as const

it.prop(
  "a cohort of which one ready peer holds the whole model never shows a split, whatever the others host",
  FastCheck.array(FastCheck.record({ isSplit: FastCheck.boolean(), state: FastCheck.constantFrom(...states) }), {
    maxLength: 8
  }),
  (others) =>
    Effect.sync(() => {
      const peers = others.map((other, index) =>
        state(peer(index + 1, "other", [model("m", other.isSplit ? { stages } : {})]), other.state)
      )
      for (const place of [0, peers.length]) {
        const shown = only(peers.toSpliced(place, 0, peer(50, "whole", [model("m")])))
        expect(shown.mode).toBe("solo")
        expect(shown.stages).toBeNull()
        const whole = [peerId(50), ...others.flatMap(({ isSplit }, index) => (isSplit ? [] : [peerId(index + 1)]))]
        expect(shown.peers.map(({ id }) => id).toSorted()).toEqual(whole.toSorted())
      }
    })
)

test("a split that serves shows its stages in order, who computes them, and how far they are apart", () => {
  const shown = only([peer(2, "tail", []), peer(1, "host", [model("m", { stages })])], {
    reaches: new Map([
      [peerId(1), { address: "", rttMs: 10 }],
      [peerId(2), { address: "", rttMs: 25 }]
    ]),
    performance: {
      of: ({ mode, peer: by }) => (mode === "split" && by === peerId(1) ? figures(4, 900) : undefined),
      ofModel: (_, mode) => (mode === "split" ? figures(4, 900) : figures(400, 9))
    }
  })
  expect(shown.mode).toBe("split")
  expect(shown.stages).toEqual([
    { peer: peerId(1), name: "host", from: 0, to: 5, nextRttMs: 35 },
    { peer: peerId(2), name: "tail", from: 5, to: 8, nextRttMs: 35 }
  ])
  expect(shown.peers.map(({ name, through }) => [name, through?.tokensPerSecond?.p50])).toEqual([
    ["host", 4],
    ["tail", undefined]
  ])
  expect(shown.through?.tokensPerSecond?.p50).toBe(4)
  expect(shown.efficiency.grade).toBe("unmeasured")
})

test.each(["loading", "draining"] as const)(
  "a split whose host is %s is shown by nobody, with no stages",
  (hosting) => {
    const shown = only([state(peer(1, "host", [model("m", { stages })]), hosting), peer(2, "tail", [])])
    expect([shown.mode, shown.stages, shown.peers]).toEqual([null, null, []])
  }
)

test("stages that are not measured apart say so, and a member who left is named by its id alone", () => {
  const [first, second] = only([peer(1, "host", [model("m", { stages })])], { reaches: new Map() }).stages ?? []
  expect([first?.nextRttMs, second?.nextRttMs, second?.name]).toEqual([null, null, ""])
})

test("efficiency is graded at 80 and 50 percent, and without one of its two sides it is unmeasured", () => {
  const through = (rate: number) => ({ ...figures(rate, 100), tokensPerSecond: { p50: rate, p95: rate } })
  const own = { ttftMs: 50, tokensPerSecond: 100, runs: 3 }
  const grades = [100, 80, 79.9, 50, 49.9, 0.1].map((rate) => efficiencyOf(through(rate), own).grade)
  expect(grades).toEqual(["green", "green", "amber", "amber", "red", "red"])
  expect(efficiencyOf(through(25), own).ratio).toBe(0.25)
  const unmeasured = { ratio: null, grade: "unmeasured" as const }
  expect(efficiencyOf(null, own)).toEqual(unmeasured)
  expect(efficiencyOf(through(25), null)).toEqual(unmeasured)
  expect(efficiencyOf({ ...through(25), tokensPerSecond: null }, own)).toEqual(unmeasured)
})

test("native figures are the middle of what ready peers measured, with the fewest runs of them", () => {
  const measured = [40, 10, 30].map((rate, index) =>
    peer(index + 1, "p", [model("m", { native: { ...native(rate), runs: 3 - index } })])
  )
  const away = state(peer(9, "p", [model("m", { native: native(1) })]), "draining")
  expect(only([...measured, away]).native).toEqual({ ttftMs: 140, tokensPerSecond: 30, runs: 1 })
  expect(only([peer(1, "p", [model("m")])]).native).toBeNull()
})

test("a model that nobody serves now stays, last, with what was measured of it within the hour", () => {
  const gone = model("a-gone")
  const { models } = statusWith([peer(1, "p", [model("served")])], {
    directory: directoryOf([peer(1, "p", [model("served")])], [gone]),
    performance: { of: () => undefined, ofModel: (id, mode) => (mode === "split" ? figures(id.length, 5) : undefined) }
  })
  expect(models.map(({ id, mode, through }) => [id, mode, through?.tokensPerSecond?.p50])).toEqual([
    ["served", "solo", undefined],
    ["a-gone", null, 6]
  ])
})

test("the strictest tier comes first, then the name", () => {
  const ids = ["z-daily", "b-slow", "a-slow"]
  const { models } = statusWith(
    [
      peer(
        1,
        "p",
        ids.map((id) => model(id))
      )
    ],
    {
      tierOf: (id) => (id === "z-daily" ? "daily-driver" : "experimental")
    }
  )
  expect(models.map(({ id }) => id)).toEqual(["z-daily", "a-slow", "b-slow"])
})

test("the document is bounded, and counts what it leaves out", () => {
  const many = Array.from({ length: modelsShownMax + 5 }, (_, index) => model(`m${index}`))
  const wide = statusWith([peer(1, "p", many)])
  expect([wide.models.length, wide.modelCount]).toEqual([modelsShownMax, modelsShownMax + 5])
  const crowd = Array.from({ length: peersShownMax + 5 }, (_, index) => peer(index + 1, "p", [model("m")]))
  const deep = only(crowd)
  expect([deep.peers.length, deep.peerCount]).toEqual([peersShownMax, peersShownMax + 5])
})

test("of peers the document says id, name and figures: no address, and no characters that could mislead", () => {
  const sly = peer(1, "a\u202Eb\u0000c\n", [model("m")])
  const document = statusWith([{ ...sly, info: { ...sly.info, address: "203.0.113.7:4433" } }], {
    reaches: new Map([[peerId(1), { address: "198.51.100.9:5555", rttMs: 3 }]])
  })
  const text = JSON.stringify(document)
  expect(text).not.toContain("203.0.113.7")
  expect(text).not.toContain("198.51.100.9")
  expect(document.models[0]?.peers[0]?.name).toBe("abc")
})

test("another file under a known name is not counted as that model's", () => {
  const peers = [peer(1, "first", [model("m")]), peer(2, "other", [model("m", { sha256: "cd".repeat(32) })])]
  expect(only(peers).peers.map(({ name }) => name)).toEqual(["first"])
})

test("a document of every state keeps its schema, and reads back as it was", () => {
  const document = statusOf(busyMesh)
  const json = Schema.parseJson(StatusDocument)
  expect(Schema.decodeSync(json)(Schema.encodeSync(json)(document))).toEqual(document)
  expect(document.models.map(({ efficiency }) => efficiency.grade)).toEqual([
    "green",
    "amber",
    "unmeasured",
    "red",
    "unmeasured",
    "unmeasured"
  ])
})
