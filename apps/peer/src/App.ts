/**
 * A running peer, top to bottom: the engines, the answers they give, the link that brings requests, the local page.
 * Stopping runs the other way: finish and leave, then close the page, the sessions and the engines.
 */
import * as Os from "node:os"
import { basename, join } from "node:path"
import { FileSystem } from "@effect/platform"
import * as EngineSupervisor from "@weft/engine/EngineSupervisor"
import type { Profile } from "@weft/engine/Generation"
import { observeBuild } from "@weft/mesh/BuildMetrics"
import { Certificate } from "@weft/mesh/Certificate"
import { Identity, load as loadIdentity } from "@weft/mesh/Identity"
import type { PeerInfo } from "@weft/mesh/PeerInfo"
import * as QuicTransport from "@weft/mesh/QuicTransport"
import * as Transports from "@weft/mesh/Transports"
import { version } from "@weft/mesh/Version"
import * as WebTransport from "@weft/mesh/WebTransport"
import { Clock, Effect, Layer, Option } from "effect"
import { Answers } from "./Answers.ts"
import { Engines, make as makeEngines } from "./Engines.ts"
import { EntryLink } from "./EntryLink.ts"
import * as LocalHttp from "./LocalHttp.ts"
import * as Memory from "./Memory.ts"
import type { PeerStatus } from "./PeerStatus.ts"
import * as Progress from "./Progress.ts"
import * as RunningPeer from "./RunningPeer.ts"

/** Represents what `peer up` was given. */
export interface AppOptions {
  readonly contextTokens: Option.Option<number>
  readonly dataDirectory: string
  readonly entry: string
  readonly httpPort: number
  readonly json: boolean
  readonly maxMemory: Option.Option<string>
  readonly models: ReadonlyArray<string>
  readonly name: Option.Option<string>
  readonly port: number
  readonly slots: number
  readonly profile: Profile
  readonly threads: Option.Option<number>
}

/** Runs a peer until it is interrupted; then it finishes its answers within their bound and leaves the mesh. */
export const run = Effect.fn("peer.up")(function* (options: AppOptions) {
  const progress = Progress.make(options.json)
  yield* observeBuild
  yield* RunningPeer.assertNone(options.dataDirectory)
  const identity = yield* loadIdentity(options.dataDirectory)
  const memoryBytes = yield* Option.match(options.maxMemory, {
    onNone: () => Effect.sync(() => process.availableMemory()),
    onSome: Memory.parse
  })
  const engines = makeEngines(yield* startEngines(options, memoryBytes, progress))
  const info: PeerInfo = {
    id: identity.id,
    name: Option.getOrElse(options.name, () => Os.hostname()).slice(0, 64),
    version,
    memoryBytes,
    threads: Option.getOrElse(options.threads, () => Math.max(1, Os.availableParallelism() - 1)),
    models: engines.all.map((engine) => engine.model)
  }
  const entryLink = EntryLink.layer({
    url: options.entry,
    info,
    onRegistered: ({ link }) =>
      progress.registered({ id: info.id, entry: options.entry, address: link.session.remoteAddress }),
    onLost: (why) => progress.lost(why)
  })
  const layer = Layer.scopedDiscard(serve(options, info, progress)).pipe(
    Layer.provide(entryLink),
    Layer.provide(Answers.layer),
    Layer.provide(Layer.succeed(Engines, engines)),
    Layer.provide(Layer.succeed(Identity, identity)),
    Layer.provide(transport(options.port)),
    Layer.provide(Certificate.layer)
  )
  return yield* Layer.launch(layer)
}, Effect.scoped)

// internal

/** QUIC both ways on one port; where a network lets no UDP through, WebTransport to the entry. */
const transport = (port: number) =>
  Transports.layer({
    listening: [QuicTransport.layer({ host: "0.0.0.0", port })],
    dialling: { https: WebTransport.layer({ host: "127.0.0.1", port: 0 }) }
  })

/** Starts an engine per model; a refused file is reported and left out, and with none left the peer does not start. */
const startEngines = Effect.fnUntraced(function* (
  options: AppOptions,
  memoryBytes: number,
  progress: Progress.Progress
) {
  const fs = yield* FileSystem.FileSystem
  const sizes = yield* Effect.forEach(options.models, (path) =>
    Effect.match(fs.stat(path), { onFailure: () => 0, onSuccess: (info) => Number(info.size) })
  )
  yield* Memory.admit(sizes, memoryBytes)
  const [refused, engines] = yield* Effect.partition(options.models, (path) =>
    EngineSupervisor.make({
      path,
      modelId: basename(path).replace(/\.gguf$/i, ""),
      slots: options.slots,
      profile: options.profile,
      calibrationPath: join(options.dataDirectory, "calibration.json"),
      ...(Option.isSome(options.threads) ? { threads: options.threads.value } : {}),
      ...(Option.isSome(options.contextTokens) ? { contextTokens: options.contextTokens.value } : {}),
      onProgress: progress.loading(path)
    }).pipe(
      Effect.tap((engine) => progress.loaded(engine.model)),
      Effect.tapError((error) => progress.refused(path, error.message))
    )
  )
  const first = refused[0]
  if (engines.length === 0 && first !== undefined) return yield* first
  return engines
})

/** The owner's page and the way to the mesh; released first of all, so that leaving comes before everything stops. */
const serve = Effect.fnUntraced(function* (options: AppOptions, info: PeerInfo, progress: Progress.Progress) {
  const answers = yield* Answers
  const engines = yield* Engines
  const entryLink = yield* EntryLink
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
      answers: yield* answers.counts,
      upSeconds: ((yield* Clock.currentTimeMillis) - startedMs) / 1_000
    } satisfies PeerStatus
  })
  const url = yield* LocalHttp.serve(options.httpPort, status)
  yield* RunningPeer.publish(options.dataDirectory, url)
  yield* progress.listening(url)
  yield* Effect.addFinalizer(() => Effect.zipRight(progress.leaving, entryLink.leave))
})
