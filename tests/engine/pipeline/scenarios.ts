/** What happens in one run of the simulation of groups, drawn from its seed before it begins. */
import { type GenerateRequest, greedy } from "@weft/engine/Generation"
import type * as Arithmetic from "./arithmetic.ts"
import type { ChildTimes } from "./children.ts"
import { seeded } from "./tailing.ts"

/** Represents the kind of trouble that a run is about. */
export type Trouble = "none" | "network" | "deaths" | "children" | "silence" | "lies" | "refusals" | "all"

const troubles: ReadonlyArray<Trouble> = [
  ...Array.from({ length: 3 }, (): Trouble => "none"),
  ...Array.from({ length: 6 }, (): Trouble => "network"),
  ...Array.from({ length: 6 }, (): Trouble => "deaths"),
  ...Array.from({ length: 5 }, (): Trouble => "children"),
  "silence",
  ...Array.from({ length: 4 }, (): Trouble => "lies"),
  ...Array.from({ length: 3 }, (): Trouble => "refusals"),
  ...Array.from({ length: 3 }, (): Trouble => "all")
]

/** Represents one thing that goes wrong, so long after the one before it. */
export interface Mishap {
  readonly waitMs: number
  readonly kind: "vanish" | "kill" | "freeze" | "cutSession" | "partition"
  /** Whom it befalls; between the two for a session or a partition. */
  readonly peer: number
  readonly other: number
  readonly forMs: number
  readonly manner: "goodbye" | "cut" | "silence"
}

/** Represents a client's wish. */
export interface Asked extends Arithmetic.Task {
  readonly afterMs: number
  /** It leaves so long after it asked. */
  readonly leavesMs: number | undefined
}

/** Represents a run. */
export interface Scenario {
  readonly seed: number
  readonly trouble: Trouble
  /** Peers are numbered from 1 on; the entry is 0. */
  readonly peers: number
  /** Stages of the first group; its spares are all other peers. */
  readonly stages: number
  /** Those that may be at fault. */
  readonly bad: ReadonlySet<number>
  readonly slots: number
  readonly speculates: boolean
  readonly pairRows: boolean
  readonly network: {
    readonly seed: number
    readonly delayMs: number
    readonly jitterMs: number
    readonly sessionLossPerMessage: number
    readonly streamCutPerMessage: number
  }
  readonly times: ChildTimes
  readonly fileMs: number
  readonly turnDeadlineMs: number
  readonly mishaps: ReadonlyArray<Mishap>
  readonly asked: ReadonlyArray<Asked>
}

/** Returns the run of a seed. */
export const of = (seed: number): Scenario => {
  const unit = seeded(seed)
  const below = (count: number): number => Math.floor(unit() * count)
  const among = (from: number, to: number): number => from + below(to - from + 1)
  const often = (share: number): boolean => unit() < share
  const trouble = troubles[below(troubles.length)] ?? "none"
  const peers = often(0.2) ? 5 : among(3, 4)
  const stages = among(2, Math.min(4, peers))
  const isBroken = trouble === "network" || trouble === "all"
  const asked = Array.from({ length: often(0.3) ? 3 : among(1, 2) }, () => task(among, often))
  const bad = new Set(trouble === "none" || trouble === "network" ? [] : [among(1, peers), among(1, peers)])
  // Two that are good can always be a pipeline.
  if (peers - bad.size < 2) bad.delete([...bad][0] ?? 0)
  const base = {
    seed,
    trouble,
    peers,
    stages,
    bad,
    slots: among(1, 3),
    speculates: often(0.6),
    pairRows: often(0.3),
    times: { loadMs: among(20, 300), decodeMs: among(1, 4), rowMs: unit() * 0.5 },
    fileMs: among(5, 200),
    turnDeadlineMs: 12_000
  }
  const network = {
    seed,
    delayMs: often(0.3) ? 0 : among(1, 20),
    jitterMs: often(0.3) ? 0 : among(1, 10),
    sessionLossPerMessage: isBroken ? unit() * 0.0005 : 0,
    streamCutPerMessage: isBroken ? unit() * 0.002 : 0
  }
  return { ...base, network, asked, mishaps: mishapsOf(trouble, { bad, peers }, among, often) }
}

/** Returns the request of a wish. */
export const requestOf = ({ maxTokens, prompt, sampling, seed }: Asked): GenerateRequest => ({
  requestId: "test",
  model: "m",
  prompt: { _tag: "Tokens", tokens: [...prompt] },
  sampling: { ...sampling, seed },
  maxTokens,
  stop: []
})

// internal

type Among = (from: number, to: number) => number
type Often = (share: number) => boolean

const task = (among: Among, often: Often): Asked => ({
  // Some are longer than a window of a prompt.
  prompt: Array.from({ length: often(0.15) ? among(129, 300) : among(1, 40) }, () => among(2, 39)),
  sampling: often(0.5) ? greedy : { ...greedy, temperature: 1 },
  seed: among(0, 0xffff_ffff),
  maxTokens: among(1, 16),
  afterMs: among(0, 1_500),
  leavesMs: often(0.15) ? among(0, 1_500) : undefined
})

const kinds: Readonly<Record<Trouble, ReadonlyArray<Mishap["kind"]>>> = {
  none: [],
  network: ["cutSession", "partition"],
  deaths: ["vanish"],
  children: ["kill"],
  silence: ["freeze"],
  lies: [],
  refusals: [],
  all: ["vanish", "kill", "cutSession", "partition"]
}

/** Sessions are given up after less, so that nothing of a peer that fell silent arrives when it is back. */
const silenceMsMin = 2_000

const manners: ReadonlyArray<Mishap["manner"]> = ["goodbye", "cut", "silence"]

const mishapsOf = (
  trouble: Trouble,
  { bad, peers }: Pick<Scenario, "bad" | "peers">,
  among: Among,
  often: Often
): ReadonlyArray<Mishap> => {
  const possible = kinds[trouble]
  if (possible.length === 0) return []
  return Array.from({ length: trouble === "silence" ? 1 : among(1, 3) }, () => {
    const kind = possible[among(0, possible.length - 1)] ?? "kill"
    const isAnybodys = kind === "cutSession" || kind === "partition"
    const peer = isAnybodys ? among(1, peers) : ([...bad][among(0, bad.size - 1)] ?? 1)
    const other = 1 + ((peer - 1 + among(1, peers - 1)) % peers)
    const waitMs = among(50, 1_500)
    const manner = manners[among(0, 2)] ?? "cut"
    const isShort = often(0.5) && !(kind === "vanish" && manner === "silence")
    const forMs = isShort ? among(50, 1_000) : among(silenceMsMin, 4_000)
    return { waitMs, kind, peer, other, forMs, manner }
  })
}
