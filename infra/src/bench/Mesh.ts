/** A mesh of real processes on loopback: an entry, and peers that serve a model, each with a directory of its own. */
import { join } from "node:path"
import * as HttpConnections from "./http/HttpConnections.ts"
import * as Programs from "./Programs.ts"

/** The bundled model, which answers `Repeat: words` with the words. */
export const tinyModel = join(Programs.root, "packages/engine/models/tiny-small-f16.gguf")
/** Its name at the entry. */
export const tinyModelName = "tiny-small-f16"
/** The token that ends its answers. */
export const tinyEndToken = 2

/** Longest leave: a peer finishes its answers for 15 s. */
const leaveMsMax = 20_000

/** Represents a running entry. */
export interface Entry {
  readonly program: Programs.Program
  readonly url: string
  readonly connections: HttpConnections.HttpConnections
}

/** Represents a running peer. */
export interface Peer {
  readonly program: Programs.Program
  /** As it stands in `x-weft-served-by`. */
  readonly id: string
  readonly statusUrl: string
  readonly dataDirectory: string
}

/** Represents what a peer is started with. */
export interface PeerOptions {
  readonly url: string
  readonly model: string
  readonly slots: number
  /** Absent: the peer's own choice. */
  readonly threads?: number
  readonly contextTokens?: number
  /** Further options of the command line. */
  readonly more?: ReadonlyArray<string>
  /** A directory of an earlier life, whose identity it takes up; absent: a new one. */
  readonly dataDirectory?: string
}

/** Starts an entry on free ports. */
export const startEntry = async (environment: Readonly<Record<string, string>> = {}): Promise<Entry> => {
  const program = Programs.start(["run", "apps/entry/src/main.ts", "--json"], {
    WEFT_HTTP_PORT: "0",
    WEFT_MESH_PORT: "0",
    WEFT_DATA_DIR: Programs.directory(),
    ...environment
  })
  const url = String((await program.event("listening"))["url"])
  return { program, url, connections: HttpConnections.make(url) }
}

/** Starts a peer and waits until it is registered. */
export const startPeer = async (options: PeerOptions): Promise<Peer> => {
  const { contextTokens, model, slots, threads, url } = options
  const dataDirectory = options.dataDirectory ?? Programs.directory()
  const program = Programs.start(
    [
      ...["run", "apps/peer/src/main.ts", "up", "--json", "--entry", url, "--model", model, "--slots", String(slots)],
      // nothing but what is asked may compute while figures are made
      "--no-baseline",
      ...(threads === undefined ? [] : ["--threads", String(threads)]),
      ...(contextTokens === undefined ? [] : ["--context", String(contextTokens)]),
      ...(options.more ?? [])
    ],
    { WEFT_DATA_DIR: dataDirectory }
  )
  const { url: statusUrl } = await program.event("listening")
  const { id } = await program.event("registered")
  return { program, id: String(id), statusUrl: String(statusUrl), dataDirectory }
}

/** Represents what a peer's status page says that benchmarks look at. */
export interface PeerStatus {
  readonly models: ReadonlyArray<{
    readonly active: number
    readonly queued: number
    readonly processId?: number
  }>
  /** Stages that it lends, and pipelines that it hosts. */
  readonly leases: ReadonlyArray<{
    readonly from: number
    readonly to: number
    readonly msPerLayer?: number
    readonly processId?: number
  }>
  readonly groups: ReadonlyArray<{ readonly stats?: { readonly ownMs: number } }>
}

/** Returns the status of a running peer. */
export const statusOf = async ({ statusUrl }: Peer): Promise<PeerStatus> =>
  // The page is checked by its own tests; a field that is missing shows as a figure that is none.
  (await (await fetch(`${statusUrl}/status`)).json()) as PeerStatus

/** Returns the processes that compute for a peer. */
export const hostProcesses = async (peer: Peer): Promise<ReadonlyArray<number>> => {
  const { leases, models } = await statusOf(peer)
  return [...leases, ...models].flatMap(({ processId }) => processId ?? [])
}

/** Tells a peer to leave the mesh and waits until it is gone; one that does not go in time is killed. */
export const stop = async ({ program }: Peer): Promise<void> => {
  program.signal("SIGTERM")
  const timer = setTimeout(() => program.signal("SIGKILL"), leaveMsMax)
  await program.exited
  clearTimeout(timer)
}
