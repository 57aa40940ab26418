/**
 * Looks at the machine, the files and the way to the entry, for `Doctor.ts` to judge. Each probe fails into its
 * finding.
 */
import * as Os from "node:os"
import * as ModelFile from "@weft/engine/ModelFile"
import { Certificate } from "@weft/mesh/Certificate"
import * as Identity from "@weft/mesh/Identity"
import * as Link from "@weft/mesh/Link"
import * as QuicTransport from "@weft/mesh/QuicTransport"
import { Clock, Duration, Effect, Layer, Option } from "effect"
import type { EntryFinding, Findings, ModelFinding } from "./Doctor.ts"
import * as EntryDiscovery from "./EntryDiscovery.ts"
import * as SoloShare from "./election/SoloShare.ts"
import * as Memory from "./Memory.ts"
import * as Models from "./Models.ts"
import * as RunningPeer from "./RunningPeer.ts"

/** Represents what the owner asked to have examined. */
export interface Subjects extends Models.NeedOptions {
  readonly dataDirectory: string
  readonly maxMemory: Option.Option<string>
  readonly threads: Option.Option<number>
  readonly models: ReadonlyArray<string>
  readonly entry: Option.Option<string>
}

/** Collects the findings; network probes are bounded by their own deadlines. */
export const look = Effect.fn("DoctorProbes.look")(function* (subjects: Subjects) {
  const identity = yield* Effect.either(Identity.load(subjects.dataDirectory))
  const lentBytes = yield* Effect.transposeMapOption(subjects.maxMemory, Memory.parse)
  const status = yield* Effect.option(RunningPeer.status(subjects.dataDirectory))
  const running = Option.map(status, ({ election }) => election?.models ?? [])
  const loadedBytes = Option.getOrElse(running, () => [])
    .filter(({ isLoaded }) => isLoaded)
    .reduce((sum, { needBytes }) => sum + needBytes, 0)
  return {
    bunVersion: Bun.version,
    libc: libc(),
    platform: process.platform,
    cpus: Os.availableParallelism(),
    threads: Option.getOrElse(subjects.threads, () => Math.max(1, Os.availableParallelism() - 1)),
    memoryUsableBytes: SoloShare.usable(
      process.availableMemory() + loadedBytes,
      Os.totalmem(),
      Option.getOrUndefined(lentBytes)
    ),
    dataDirectory: {
      path: subjects.dataDirectory,
      problem: identity._tag === "Left" ? Option.some(identity.left.message) : Option.none()
    },
    models: yield* Effect.forEach(subjects.models, (path) => lookAtModel(subjects, path)),
    running,
    entry: yield* Effect.transposeMapOption(subjects.entry, lookAtEntry)
  } satisfies Findings
})

// internal

/** The C library's version as the runtime reports it. */
const libc = (): string => {
  const report: unknown = process.report?.getReport()
  const header = typeof report === "object" && report !== null && "header" in report ? report.header : undefined
  if (typeof header !== "object" || header === null) return "unknown"
  return "glibcVersionRuntime" in header && typeof header.glibcVersionRuntime === "string"
    ? header.glibcVersionRuntime
    : "musl"
}

const lookAtModel = Effect.fnUntraced(function* (options: Models.NeedOptions, path: string) {
  const opened = yield* Effect.either(ModelFile.open(path))
  const problem = opened._tag === "Left" ? Option.some(opened.left.message) : Option.none()
  return { name: Models.nameOf(path), path, problem, ...(yield* Models.needs(options, path)) } satisfies ModelFinding
})

const lookAtEntry = Effect.fnUntraced(function* (url: string) {
  const discovered = yield* Effect.either(EntryDiscovery.discover(url))
  if (discovered._tag === "Left") {
    const httpProblem = Option.some(discovered.left.message)
    return { url, httpProblem, clockSkewMs: Option.none(), quic: Option.none() } satisfies EntryFinding
  }
  const { clockSkewMs, description } = discovered.right
  const quic = yield* Effect.transposeMapOption(
    Option.fromNullable(description.meshAddresses.find((address) => address.startsWith("quic://"))),
    (address) => lookAtQuic(EntryDiscovery.dialable(address, url), description.peerId)
  )
  return { url, httpProblem: Option.none(), clockSkewMs: Option.fromNullable(clockSkewMs), quic } satisfies EntryFinding
})

/** Dials with a throw-away identity, so that a running peer of the same data directory keeps its link. */
const lookAtQuic = (address: string, expected: NonNullable<Parameters<typeof Link.dial>[1]["expected"]>) =>
  Effect.gen(function* () {
    const startedMs = yield* Clock.currentTimeMillis
    const [took, link] = yield* Effect.timed(Link.dial(address, { role: "peer", expected }))
    yield* link.session.close(Link.CloseCode.leaving, "only looked")
    return { _tag: "Reached" as const, address, helloMs: Duration.toMillis(took), startedMs }
  }).pipe(
    Effect.scoped,
    Effect.provide(
      Layer.merge(
        QuicTransport.layer({ host: "0.0.0.0", port: 0 }).pipe(Layer.provide(Certificate.layer)),
        Identity.Identity.layerEphemeral
      )
    ),
    Effect.catchAll((error) => Effect.succeed({ _tag: "Unreached" as const, problem: error.message }))
  )
