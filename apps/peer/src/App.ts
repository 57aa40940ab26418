/**
 * A running peer, top to bottom: the engines, the answers they give, its part in pipelines, the link that brings
 * requests, the local page.
 * Stopping runs the other way: finish and leave, then close the page, the sessions and the engines.
 */
import * as Os from "node:os"
import { join } from "node:path"
import { observeBuild } from "@weft/mesh/BuildMetrics"
import { Certificate } from "@weft/mesh/Certificate"
import { Identity, load as loadIdentity } from "@weft/mesh/Identity"
import { PeerLinks } from "@weft/mesh/PeerLinks"
import { observeProcess } from "@weft/mesh/ProcessMetrics"
import * as QuicTransport from "@weft/mesh/QuicTransport"
import * as Transports from "@weft/mesh/Transports"
import { version } from "@weft/mesh/Version"
import * as WebTransport from "@weft/mesh/WebTransport"
import { Clock, Effect, Layer, Option } from "effect"
import { Answers } from "./Answers.ts"
import * as Baseline from "./baseline/Baseline.ts"
import { Engines, make as makeEngines } from "./Engines.ts"
import { EntryLink, type Self } from "./EntryLink.ts"
import { Solo } from "./election/Solo.ts"
import * as SoloShare from "./election/SoloShare.ts"
import * as LocalHttp from "./LocalHttp.ts"
import * as Memory from "./Memory.ts"
import * as Models from "./Models.ts"
import type { PeerStatus } from "./PeerStatus.ts"
import * as Progress from "./Progress.ts"
import * as RunningPeer from "./RunningPeer.ts"
import { Splits } from "./Splits.ts"

/** Represents what `peer up` was given. */
export interface AppOptions extends Models.ModelsOptions {
  readonly address: Option.Option<string>
  /** The speed of whole models is measured with no mesh in the way, while nobody asks. */
  readonly baseline: boolean
  readonly entry: string
  readonly httpPort: number
  readonly json: boolean
  readonly maxMemory: Option.Option<string>
  readonly name: Option.Option<string>
  readonly port: number
  readonly region: Option.Option<string>
  readonly speculates: boolean
  readonly trust: Option.Option<string>
}

/** Runs a peer until it is interrupted; then it finishes its answers within their bound and leaves the mesh. */
export const run = Effect.fn("peer.up")(function* (options: AppOptions) {
  const progress = Progress.make(options.json)
  yield* observeBuild
  yield* observeProcess
  yield* RunningPeer.assertNone(options.dataDirectory)
  const identity = yield* loadIdentity(options.dataDirectory)
  const lentBytes = yield* Effect.transposeMapOption(options.maxMemory, Memory.parse)
  const memoryBytes = SoloShare.usable(process.availableMemory(), Os.totalmem(), Option.getOrUndefined(lentBytes))
  const { solo, stock } = yield* Models.start(options, memoryBytes, progress)
  const engines = yield* makeEngines(solo.held.map(({ engine }) => engine))
  const info: Self = {
    id: identity.id,
    name: Option.getOrElse(options.name, () => Os.hostname()).slice(0, 64),
    version,
    memoryBytes,
    ...(Option.isSome(options.address) ? { address: options.address.value } : {}),
    ...labelsOf(options),
    threads: Option.getOrElse(options.threads, () => Math.max(1, Os.availableParallelism() - 1))
  }
  const entryLink = EntryLink.layer({
    url: options.entry,
    info,
    onRegistered: ({ link }) =>
      progress.registered({ id: info.id, entry: options.entry, address: link.session.remoteAddress }),
    onLost: (why) => progress.lost(why)
  })
  const baseline = options.baseline
    ? Baseline.layer({ path: join(options.dataDirectory, "baseline.json") })
    : Layer.empty
  const layer = Layer.merge(Layer.scopedDiscard(serve(options, info, progress)), baseline).pipe(
    Layer.provide(entryLink),
    Layer.provide([Solo.layer(solo), Splits.layer(stock, options)]),
    Layer.provide(PeerLinks.layer),
    Layer.provide(Answers.layer),
    Layer.provide(Layer.succeed(Engines, engines)),
    Layer.provide(Layer.succeed(Identity, identity)),
    Layer.provide(transport(options.port)),
    Layer.provide(Certificate.layer)
  )
  return yield* Layer.launch(layer)
}, Effect.scoped)

// internal

/** What the owner says of the peer beyond what it can do; absent where they say nothing. */
const labelsOf = ({ region, trust }: Pick<AppOptions, "region" | "trust">): Pick<Self, "labels"> => {
  const labels = {
    ...(Option.isSome(region) ? { region: region.value } : {}),
    ...(Option.isSome(trust) ? { trust: trust.value } : {})
  }
  return Object.keys(labels).length === 0 ? {} : { labels }
}

/** QUIC both ways on one port; where a network lets no UDP through, WebTransport to the entry. */
const transport = (port: number) =>
  Transports.layer({
    listening: [QuicTransport.layer({ host: "0.0.0.0", port })],
    dialling: { https: WebTransport.layer({ host: "127.0.0.1", port: 0 }) }
  })

/** The owner's page and the way to the mesh; released first of all, so that leaving comes before everything stops. */
const serve = Effect.fnUntraced(function* (options: AppOptions, info: Self, progress: Progress.Progress) {
  const answers = yield* Answers
  const engines = yield* Engines
  const entryLink = yield* EntryLink
  const splits = yield* Splits
  const solo = yield* Solo
  const startedMs = yield* Clock.currentTimeMillis
  const status = Effect.gen(function* () {
    const registered = Option.getOrUndefined(yield* entryLink.current)
    const stats = registered === undefined ? undefined : yield* registered.link.session.stats
    return {
      id: info.id,
      name: info.name,
      version: info.version,
      state: answers.isDraining() ? "draining" : registered === undefined ? "connecting" : "registered",
      entry: {
        url: options.entry,
        peerId: registered?.description.peerId,
        address: registered?.link.session.remoteAddress,
        rttMs: stats?.rttMs
      },
      models: yield* engines.status,
      lends: splits.lends,
      leases: splits.leases(),
      groups: splits.groups(),
      answers: yield* answers.counts,
      election: yield* solo.status,
      upSeconds: ((yield* Clock.currentTimeMillis) - startedMs) / 1_000
    } satisfies PeerStatus
  })
  const url = yield* LocalHttp.serve(options.httpPort, status)
  yield* RunningPeer.publish(options.dataDirectory, url)
  yield* progress.listening(url)
  yield* Effect.addFinalizer(() => Effect.zipRight(progress.leaving, entryLink.leave))
})
