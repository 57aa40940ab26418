/** A mesh in which every state of the status page is to be seen: what its tests and its screenshots show. */
import type { Figures, Mode } from "@weft/entry/performance/PerformanceState"
import { hourMs } from "@weft/entry/share/ShareState"
import { historyOf, type MeasuredHour } from "@weft/entry/status/StatusHistory"
import type { StatusInputs } from "@weft/entry/status/StatusModel"
import type { Assignment } from "@weft/mesh/election/ElectionProtocol"
import type { ElectionState } from "@weft/mesh/election/ElectionState"
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import type { KnownModel, Peer } from "@weft/mesh/PeerDirectory"
import { fromPublicKey, type PeerId } from "@weft/mesh/PeerId"

/** Saturday afternoon. */
export const nowMs = Date.UTC(2026, 10, 21, 15, 20)

/** Returns the id of the `number`th peer. */
export const peerId = (number: number): PeerId => fromPublicKey(new Uint8Array(32).fill(number))

/** Returns a model's description. */
export const model = (id: string, more: Partial<ModelDescription> = {}): ModelDescription => ({
  id,
  sha256: "ab".repeat(32),
  sizeBytes: 2_497_280_256,
  architecture: "qwen3",
  quantization: "Q4_K_M",
  contextTokens: 8_192,
  slots: 4,
  ...more
})

/** Returns a peer that serves `models`, all of them ready. */
export const peer = (number: number, name: string, models: ReadonlyArray<ModelDescription>): Peer => ({
  info: { id: peerId(number), name, version: "0.1.0", memoryBytes: 24e9, threads: 8, models },
  link: number,
  load: { state: "ready", models: models.map(({ id }) => ({ id, ready: true, active: number % 3, queued: 0 })) },
  registeredAtMs: nowMs - 1_000,
  lastSeenMs: nowMs
})

/** Returns elections in which each of these peers was assigned so. */
export const electionsOf = (
  assigned: ReadonlyArray<readonly [number: number, assignments: ReadonlyArray<Assignment>]>
): ElectionState =>
  new Map(
    assigned.map(([number, assignments]) => [
      peerId(number),
      {
        epoch: 3,
        assignments,
        changedAtMs: nowMs,
        leasedUntilMs: nowMs + 15_000,
        elsewhere: undefined,
        refused: undefined
      }
    ])
  )

/** Returns the peer with these labels. */
export const labelled = (one: Peer, labels: NonNullable<Peer["info"]["labels"]>): Peer => ({
  ...one,
  info: { ...one.info, labels }
})

/** Returns the directory of `peers` and all their models. */
export const directoryOf = (
  peers: ReadonlyArray<Peer>,
  others: ReadonlyArray<ModelDescription> = []
): StatusInputs["directory"] => {
  const described = [...peers.flatMap(({ info }) => info.models), ...others]
  const known = described.map((description): [string, KnownModel] => [description.id, { description, sinceMs: nowMs }])
  const holders = Map.groupBy(
    peers.flatMap(({ info }) => info.models.map((model) => ({ model: model.id, peer: info.id }))),
    ({ model }) => model
  )
  return {
    peers: new Map(peers.map((one) => [one.info.id, one])),
    models: new Map(known.toReversed()),
    holders: new Map([...holders].map(([model, held]) => [model, held.map(({ peer }) => peer)]))
  }
}

/** Returns the figures of answers that came at `rate` tokens per second after `ttftMs`. */
export const figures = (rate: number, ttftMs: number, samples = 120): Figures => ({
  samples,
  ttftMs: { p50: ttftMs, p95: ttftMs * 2.4 },
  tokensPerSecond: { p50: rate, p95: rate * 0.7 }
})

/** Returns what a peer measured of its own engine. */
export const native = (tokensPerSecond: number): ModelDescription["native"] & {} => ({
  ttftMs: 140,
  tokensPerSecond,
  runs: 3,
  measuredAtMs: nowMs - 3_600_000
})

const split = "llama-3.3-70b-instruct:Q4_K_M"
const stages = [
  { peer: peerId(4), from: 0, to: 32 },
  { peer: peerId(5), from: 32, to: 58 },
  { peer: peerId(6), from: 58, to: 80 }
]

const peers = [
  labelled(peer(1, "ada", [model("qwen3-4b", { native: native(41.2) }), model("phi-4-mini")]), {
    region: "eu-west",
    trust: "staff"
  }),
  peer(2, "ben's old laptop", [
    model("qwen3-4b", { native: native(38.9) }),
    model("gemma-3-12b", { native: native(24) })
  ]),
  labelled(
    peer(3, "cora", [
      model("qwen3-4b", { native: native(44.0) }),
      model("mistral-small-24b", { native: native(11.4) })
    ]),
    { region: "us", trust: "claimed-only" }
  ),
  peer(4, "workstation", [
    model(split, { architecture: "llama", sizeBytes: 42_520_393_472, contextTokens: 4_096, stages })
  ]),
  peer(5, "office mini", []),
  peer(6, "", [])
]

const rates: Readonly<Record<string, { readonly mode: Mode; readonly rate: number; readonly ttftMs: number }>> = {
  "qwen3-4b": { mode: "solo", rate: 39.6, ttftMs: 212 },
  "gemma-3-12b": { mode: "solo", rate: 15.8, ttftMs: 1_140 },
  "mistral-small-24b": { mode: "solo", rate: 3.1, ttftMs: 6_230 },
  [split]: { mode: "split", rate: 6.4, ttftMs: 2_870 }
}

/** A curve of the day that is the same every time: busy afternoons, quiet nights, and some hours without any answer. */
const curve = (hour: number, seed: number): number =>
  0.75 + 0.2 * Math.sin(hour / 3.4 + seed) + 0.05 * Math.sin(hour * 7 + seed)

/** What `hours` hours measured. */
const measured = (hours: number): ReadonlyArray<MeasuredHour> =>
  Object.entries(rates).flatMap(([id, { mode, rate, ttftMs }], seed) =>
    Array.from({ length: hours }, (_, hour) => hour)
      .filter((hour) => (hour + seed * 3) % 24 > seed * 3)
      .map((hour) => ({
        hourMs: Math.floor(nowMs / hourMs) * hourMs - (hours - 1 - hour) * hourMs,
        model: id,
        mode,
        samples: 10,
        ttftMs: ttftMs / curve(hour, seed),
        tokensPerSecond: rate * curve(hour, seed)
      }))
  )

/** The history of `hours` hours. */
export const history = (hours: number) => {
  const all = measured(hours)
  const counted = all.flatMap(({ hourMs: at, model: id }, index) => [
    { hourMs: at, model: id, servedBy: "mesh" as const, requests: 14 + Math.round(30 * curve(index, 1)), tokens: 1 },
    { hourMs: at, model: id, servedBy: "fallback" as const, requests: index % 5, tokens: 1 },
    { hourMs: at, model: id, servedBy: "refused" as const, requests: index % 7 === 0 ? 2 : 0, tokens: 0 }
  ])
  return historyOf(all, counted, hours, nowMs)
}

const elections = electionsOf([
  [
    2,
    [
      { model: "gemma-3-12b", role: "worker", why: "serves it: as before" },
      { model: "qwen3-4b", role: "worker", why: "serves it: its workers are full" },
      {
        model: "tiny-small-f16",
        role: "standby",
        why: "no room beside gemma-3-12b, qwen3-4b, which nobody else serves"
      }
    ]
  ],
  [
    3,
    [
      { model: "qwen3-4b", role: "worker", why: "serves it: as before" },
      { model: "mistral-small-24b", role: "worker", why: "serves it: nobody else serves it" },
      { model: "gemma-3-12b", role: "standby", why: "kept ready for the loss of its worker" }
    ]
  ],
  [5, [{ model: "gemma-3-12b", role: "dropped", why: "it needs 14,900 MiB, and the peer may use 6,144 MiB" }]]
])

/** Everything there is. */
export const busyMesh: StatusInputs = {
  nowMs,
  entry: { id: peerId(99), version: "0.1.0", startedAtMs: nowMs - 5 * 86_400_000 - 7_512_000 },
  directory: directoryOf(peers, [model("tiny-small-f16", { architecture: "llama", sizeBytes: 12_345_678 })]),
  elections,
  trust: new Map([[peerId(1), new Set(["staff"])]]),
  reaches: new Map([12.4, 38, 21, 9.2, 44, 31].map((rttMs, index) => [peerId(index + 1), { address: "", rttMs }])),
  performance: {
    of: ({ mode, model: id, peer: by }) => {
      const known = rates[id]
      const factor = 1 + (by.charCodeAt(20) % 5) / 40
      return known?.mode === mode ? figures(known.rate * factor, known.ttftMs / factor, 40) : undefined
    },
    ofModel: (id, mode) => {
      const known = rates[id]
      return known?.mode === mode ? figures(known.rate, known.ttftMs) : undefined
    }
  },
  tierOf: (id) => (id === "qwen3-4b" ? "daily-driver" : id === "phi-4-mini" ? "experimental" : "capacity"),
  milestones: new Map([
    ["qwen3-4b", { mesh: nowMs - 30 * 86_400_000 }],
    [split, { mesh: nowMs - 3 * 86_400_000, split: nowMs - 3 * 86_400_000 }]
  ]),
  share: {
    day: { requests: 2_214, mesh: 2_031, fallback: 151, refused: 32, mesh_share_pct: 93.1 },
    week: { requests: 13_870, mesh: 13_551, fallback: 263, refused: 56, mesh_share_pct: 98.1 }
  },
  history: history(24)
}
