/** What a machine must have to be a peer. Pure: findings in, verdicts with the cure out; `DoctorProbes.ts` looks. */
import { Option } from "effect"
import * as SoloShare from "./election/SoloShare.ts"
import type { ElectionStatus } from "./PeerStatus.ts"

/** Represents the verdict on one thing; `fix` says what to do where it is not a PASS. */
export interface Check {
  readonly name: string
  readonly status: "PASS" | "WARN" | "FAIL"
  readonly detail: string
  readonly fix?: string
}

/** Represents what was found on the machine. Absent parts were not asked for. */
export interface Findings {
  readonly bunVersion: string
  /** `2.36` for glibc 2.36; `musl` or `unknown` otherwise. */
  readonly libc: string
  readonly platform: string
  readonly cpus: number
  readonly threads: number
  /** What models may take together, that which a running peer has loaded included. */
  readonly memoryUsableBytes: number
  readonly dataDirectory: { readonly path: string; readonly problem: Option.Option<string> }
  readonly models: ReadonlyArray<ModelFinding>
  /** What the peer of the data directory is for each of its models, where one runs. */
  readonly running: Option.Option<ElectionStatus["models"]>
  readonly entry: Option.Option<EntryFinding>
}

/** Represents one model file as it was found. */
export interface ModelFinding {
  /** The name by which clients ask for it. */
  readonly name: string
  readonly path: string
  readonly sizeBytes: number
  /** What it takes when it is loaded whole. */
  readonly needBytes: number
  /** Why the gate refused the file, where it did. */
  readonly problem: Option.Option<string>
}

/** Represents the way to the entry as it was found; each step is there only when the one before worked. */
export interface EntryFinding {
  readonly url: string
  readonly httpProblem: Option.Option<string>
  /** Milliseconds by which our clock is ahead of the entry's. */
  readonly clockSkewMs: Option.Option<number>
  /** Absent also where the entry names no QUIC address. */
  readonly quic: Option.Option<
    | { readonly _tag: "Reached"; readonly address: string; readonly helloMs: number }
    | { readonly _tag: "Unreached"; readonly problem: string }
  >
}

/** First Bun whose `node:quic` and N-API finalizers hold what Weft needs (see the library notes in ARCHITECTURE.md). */
export const bunVersionMin = "1.4.4"
/** The prebuilt llama.cpp libraries need the symbols of glibc 2.34. */
export const glibcVersionMin = "2.34"
/** Beyond this, signed announcements (valid for a minute) of honest peers begin to look expired. */
export const clockSkewMsMax = 10_000
/** Returns one verdict per thing, in the order a person would check them. */
export const examine = (findings: Findings): ReadonlyArray<Check> => [
  examineBun(findings),
  examineLibc(findings),
  examineMemory(findings),
  examineThreads(findings),
  examineDataDirectory(findings),
  ...findings.models.map(examineModel),
  ...Option.match(findings.running, {
    onNone: () => foreseeRoles(findings),
    onSome: (models) => models.map(examineRole)
  }),
  ...Option.match(findings.entry, { onNone: () => [], onSome: examineEntry })
]

/** Returns whether any check failed, which makes the command exit with 1. */
export const failed = (checks: ReadonlyArray<Check>): boolean => checks.some((check) => check.status === "FAIL")

// internal

const pass = (name: string, detail: string): Check => ({ name, status: "PASS", detail })
const warn = (name: string, detail: string, fix: string): Check => ({ name, status: "WARN", detail, fix })
const fail = (name: string, detail: string, fix: string): Check => ({ name, status: "FAIL", detail, fix })

/** Returns whether dotted version `a` is at least `b`; a part that is no number counts as 0. */
const atLeast = (a: string, b: string): boolean => {
  const [left, right] = [a, b].map((version) => version.split(".").map((part) => Number.parseInt(part, 10) || 0))
  for (let i = 0; i < 3; i++) {
    const difference = (left?.[i] ?? 0) - (right?.[i] ?? 0)
    if (difference !== 0) return difference > 0
  }
  return true
}

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`

const examineBun = ({ bunVersion }: Findings): Check =>
  atLeast(bunVersion, bunVersionMin)
    ? pass("bun", bunVersion)
    : fail(
        "bun",
        `${bunVersion} is too old`,
        `Install Bun ${bunVersionMin} or newer: npm install -g bun@${bunVersionMin}`
      )

const examineLibc = ({ libc, platform }: Findings): Check => {
  if (platform !== "linux") return pass("libc", `${platform} needs no glibc`)
  if (libc === "musl" || libc === "unknown") {
    return fail(
      "libc",
      `found ${libc}, not glibc`,
      "Run the peer on a distribution with glibc (Debian, Ubuntu, Fedora)."
    )
  }
  return atLeast(libc, glibcVersionMin)
    ? pass("libc", `glibc ${libc}`)
    : fail(
        "libc",
        `glibc ${libc} is too old`,
        `Upgrade to a system with glibc ${glibcVersionMin} or newer (Debian 12).`
      )
}

/** Of several models it is enough that one fits: the others stand by. */
const examineMemory = (findings: Findings): Check => {
  const usable = `${gib(findings.memoryUsableBytes)} may be used`
  const good = soundOf(findings)
  if (good.length === 0) return pass("memory", usable)
  const needed = good.reduce((sum, { needBytes }) => sum + needBytes, 0)
  const detail = `${usable}, the models need about ${gib(needed)}${good.length > 1 ? " together" : ""}`
  return partsOf(findings).includes("worker")
    ? pass("memory", detail)
    : fail("memory", detail, "Free some memory, or serve a smaller model or quantisation.")
}

const examineThreads = ({ cpus, threads }: Findings): Check => {
  const detail = `${threads} of ${cpus} processors`
  const most = Math.max(1, cpus - 1)
  return threads <= most
    ? pass("threads", detail)
    : warn(
        "threads",
        detail,
        `With all processors in use one busy neighbour stalls every token; use --threads ${most}.`
      )
}

const examineDataDirectory = ({ dataDirectory: { path, problem } }: Findings): Check =>
  Option.match(problem, {
    onNone: () => pass("data directory", path),
    onSome: (detail) => fail("data directory", detail, "Make the directory writable, or name another with --data-dir.")
  })

const examineModel = ({ path, problem, sizeBytes }: ModelFinding): Check =>
  Option.match(problem, {
    onNone: () => pass("model", `${path} (${gib(sizeBytes)})`),
    onSome: (detail) => fail("model", detail, "Download the file again, and compare its SHA-256 with the publisher's.")
  })

const soundOf = ({ models }: Findings): ReadonlyArray<ModelFinding> =>
  models.filter(({ problem }) => Option.isNone(problem))

/** What becomes of each sound model when the peer starts. */
const partsOf = (findings: Findings): ReadonlyArray<SoloShare.Part> =>
  SoloShare.divide(
    soundOf(findings).map(({ needBytes }) => ({ needBytes, isLent: false })),
    findings.memoryUsableBytes
  ).parts

const foreseeRoles = (findings: Findings): ReadonlyArray<Check> => {
  const parts = partsOf(findings)
  const good = soundOf(findings)
  const served = good.flatMap(({ name }, index) => (parts[index] === "worker" ? [name] : []))
  return good.flatMap(({ name, needBytes }, index) => {
    if (parts[index] === "worker") return [pass("role", `${name}: worker from the start, as there is room for it`)]
    if (parts[index] === "standby") {
      const why = `no room beside ${served.join(", ")}; it is loaded when the mesh needs it more`
      return [pass("role", `${name}: standby from the start, which is healthy: ${why}`)]
    }
    // Where nothing fits, the memory's verdict says it.
    if (served.length === 0) return []
    const detail = `${name}: too large to be served alone (${gib(needBytes)}), its layers are lent`
    return [warn("role", detail, "That may stay where splits are wanted; otherwise leave it out.")]
  })
}

const examineRole = ({ isLoaded, model, role, why }: ElectionStatus["models"][number]): Check => {
  if (role === "standby") return pass("role", `${model}: standby, which is healthy: ${why}`)
  if (role === "worker") return pass("role", `${model}: worker${isLoaded ? "" : ", not loaded yet"}: ${why}`)
  return warn(
    "role",
    `${model}: neither worker nor standby: ${why}`,
    "The mesh does not count on it here. That may stay; 'peer up' without it keeps the disk for others."
  )
}

const examineEntry = ({ clockSkewMs, httpProblem, quic, url }: EntryFinding): ReadonlyArray<Check> => [
  Option.match(httpProblem, {
    onNone: () => pass("entry by HTTP", url),
    onSome: (detail) => fail("entry by HTTP", detail, "Check the address given with --entry and that the entry runs.")
  }),
  ...Option.match(quic, {
    onNone: () =>
      Option.isSome(httpProblem)
        ? []
        : [fail("entry by QUIC", "the entry names no quic:// address", "Ask its owner, or use another entry.")],
    onSome: (found) => [
      found._tag === "Reached"
        ? pass("entry by QUIC", `${found.address}, hello in ${found.helloMs.toFixed(1)} ms`)
        : fail("entry by QUIC", found.problem, "Let UDP to that address out through the firewall; see the entry's log.")
    ]
  }),
  ...Option.match(clockSkewMs, {
    onNone: () => [],
    onSome: (skew) => {
      const seconds = (Math.abs(skew) / 1_000).toFixed(0)
      const detail = Math.abs(skew) < 1_000 ? "in step" : `${seconds} s ${skew > 0 ? "ahead" : "behind"}`
      return [
        Math.abs(skew) <= clockSkewMsMax
          ? pass("clock", detail)
          : fail("clock", detail, "Set the clock by network time: timedatectl set-ntp true")
      ]
    }
  })
]
