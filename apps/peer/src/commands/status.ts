/** `peer status`: what the running peer of this data directory does now. */
import { Command } from "@effect/cli"
import type { EngineTuning } from "@weft/engine/EngineTuning"
import type { DraftCount } from "@weft/engine/pipeline/PipelineHostProtocol"
import { toShort } from "@weft/mesh/PeerId"
import { Effect } from "effect"
import * as PeerConfig from "../PeerConfig.ts"
import type { PeerStatus } from "../PeerStatus.ts"
import * as RunningPeer from "../RunningPeer.ts"
import * as Terminal from "../Terminal.ts"

/** Asks the running peer and prints its answer; exits with 3 where none runs. */
export const status = Command.make(
  "status",
  { dataDirectory: PeerConfig.dataDirectory, json: PeerConfig.json },
  Effect.fn("peer.status")(function* ({ dataDirectory, json }) {
    yield* Terminal.print(json, yield* RunningPeer.status(dataDirectory), describe)
  })
).pipe(Command.withDescription("show what the running peer does"))

// internal

const describe = (status: PeerStatus): ReadonlyArray<string> => [
  ...Terminal.table([
    ["peer", `${status.name} (${status.id})`],
    ["state", status.state],
    ["entry", describeEntry(status.entry)],
    [
      "answers",
      `${status.answers.active} active, ${status.answers.finished} finished, ${status.answers.failed} failed`
    ],
    ["up", `${Math.round(status.upSeconds)} s`]
  ]),
  "",
  ...Terminal.table([
    ["MODEL", "STATE", "SLOTS", "QUEUED", "CONTEXT", "RESTARTS", "NATIVE"],
    ...status.models.map((model) => [
      Terminal.printable(model.id),
      model.state,
      `${model.active}/${model.slots}`,
      String(model.queued),
      String(model.contextTokens),
      String(model.restarts),
      describeNative(model.native)
    ])
  ]),
  ...describeElection(status.election),
  ...describeLends(status.lends),
  ...describeLeases(status.leases),
  ...describeGroups(status.groups),
  ...status.models.flatMap(({ id, tuning }) =>
    tuning === undefined ? [] : ["", `${Terminal.printable(id)}: ${describeTuning(tuning)}`]
  )
]

const describeElection = (election: PeerStatus["election"]): ReadonlyArray<string> =>
  election === undefined
    ? []
    : [
        "",
        ...Terminal.table([
          ["ELECTION", "ROLE", "LOADED", "WHY"],
          ...election.models.map(({ isLoaded, model, role, why }) => [
            Terminal.printable(model),
            role,
            isLoaded ? "yes" : "no",
            Terminal.printable(why)
          ])
        ]),
        ...(election.isElective ? [describeLease(election)] : [])
      ]

const describeLease = ({ lease, refused }: NonNullable<PeerStatus["election"]>): string => {
  const held =
    lease === undefined
      ? "no entry ordered anything yet"
      : `ordered by ${toShort(lease.entry)}, epoch ${lease.epoch}, ${
          lease.leftMs === 0 ? "lease ended" : `lease for ${Math.ceil(lease.leftMs / 1_000)} s`
        }`
  return refused === undefined ? held : `${held}; refused another order: ${refused}`
}

/** How fast it is with no mesh in the way, as the middle of so many runs. */
const describeNative = (native: PeerStatus["models"][number]["native"]): string =>
  native === undefined
    ? "-"
    : `${native.tokensPerSecond.toFixed(1)} tok/s, ${native.ttftMs.toFixed(0)} ms (${native.runs} runs)`

const describeLends = (lends: PeerStatus["lends"]): ReadonlyArray<string> =>
  lends.length === 0
    ? []
    : [
        "",
        ...Terminal.table([
          ["LENDS", "LAYERS"],
          ...lends.map(({ from, layers, model, to }) => [Terminal.printable(model), `${from}-${to} of ${layers}`])
        ])
      ]

const describeLeases = (leases: PeerStatus["leases"]): ReadonlyArray<string> =>
  leases.length === 0
    ? []
    : [
        "",
        ...Terminal.table([
          ["LENT TO", "MODEL", "LAYERS", "STATE", "EPOCH", "JOBS", "MS/LAYER"],
          ...leases.map(({ epoch, from, group, jobs, model, msPerLayer, state, to }) => [
            group.slice(0, 8),
            Terminal.printable(model),
            `${from}-${to}`,
            state,
            String(epoch),
            String(jobs),
            msPerLayer?.toFixed(2) ?? "-"
          ])
        ])
      ]

const describeGroups = (groups: PeerStatus["groups"]): ReadonlyArray<string> =>
  groups.flatMap(({ draft, epoch, group, model, phase, stages, stats }) => [
    "",
    `hosting ${group.slice(0, 8)}: ${Terminal.printable(model)}, ${phase}, epoch ${epoch}`,
    ...describeGuesses(draft, stats),
    ...Terminal.table(
      stages.map(({ from, isReady, peer, to }) => [`  ${from}-${to}`, toShort(peer), isReady ? "ready" : "waiting"])
    )
  ])

const describeGuesses = (
  draft: string | undefined,
  stats: PeerStatus["groups"][number]["stats"]
): ReadonlyArray<string> => {
  if (stats === undefined) return []
  const share = ({ accepted, drafted }: DraftCount): string => `${accepted} of ${drafted} right`
  const { lookup, model } = stats
  const made = draft === undefined || model === undefined ? "" : `, ${Terminal.printable(draft)} ${share(model)}`
  return [`  guesses: lookup ${share(lookup)}${made}`]
}

const describeEntry = ({ address, rttMs, url }: PeerStatus["entry"]): string =>
  [url, ...(address === undefined ? [] : [address]), ...(rttMs === undefined ? [] : [`${rttMs.toFixed(1)} ms`])].join(
    "  "
  )

const describeTuning = ({ profile, threads, threadsMax, why }: EngineTuning): string =>
  `${threads} of ${threadsMax} threads (${profile}), ${Terminal.printable(why)}`
