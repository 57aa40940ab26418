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

/** Represents what the owner asked to have examined. */
export interface Subjects {
  readonly dataDirectory: string
  readonly threads: Option.Option<number>
  readonly models: ReadonlyArray<string>
  readonly entry: Option.Option<string>
}

/** Collects the findings; network probes are bounded by their own deadlines. */
export const look = Effect.fn("DoctorProbes.look")(function* (subjects: Subjects) {
  const identity = yield* Effect.either(Identity.load(subjects.dataDirectory))
  return {
    bunVersion: Bun.version,
    libc: libc(),
    platform: process.platform,
    cpus: Os.availableParallelism(),
    threads: Option.getOrElse(subjects.threads, () => Math.max(1, Os.availableParallelism() - 1)),
    memoryFreeBytes: process.availableMemory(),
    dataDirectory: {
      path: subjects.dataDirectory,
      problem: identity._tag === "Left" ? Option.some(identity.left.message) : Option.none()
    },
    models: yield* Effect.forEach(subjects.models, lookAtModel),
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

const lookAtModel = (path: string): Effect.Effect<ModelFinding> =>
  Effect.match(ModelFile.open(path), {
    onFailure: (refused) => ({ path, sizeBytes: 0, problem: Option.some(refused.message) }),
    onSuccess: ({ sizeBytes }) => ({ path, sizeBytes, problem: Option.none() })
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
