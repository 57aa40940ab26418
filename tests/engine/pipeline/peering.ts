/**
 * Peers in one process that lend stages and host pipelines, over QUIC on loopback and with real stages in child
 * processes; and an entry that asks one of them for a pipeline.
 */
import { join } from "node:path"
import * as ModelFile from "@weft/engine/ModelFile"
import * as GroupHost from "@weft/engine/pipeline/GroupHost"
import * as LayerTimes from "@weft/engine/pipeline/LayerTimes"
import type { PipelineEngine } from "@weft/engine/pipeline/PipelineEngine"
import { Form, GroupEvent, type PeerPlace } from "@weft/engine/pipeline/PipelineProtocol"
import * as StageEdge from "@weft/engine/pipeline/StageEdge"
import * as StageLender from "@weft/engine/pipeline/StageLender"
import * as StagePermit from "@weft/engine/pipeline/StagePermit"
import * as StageStock from "@weft/engine/pipeline/StageStock"
import type { StageRange } from "@weft/engine/stage/StageKeys"
import * as StageShelf from "@weft/engine/stage/StageShelf"
import { Certificate } from "@weft/mesh/Certificate"
import * as Frames from "@weft/mesh/Frames"
import { Identity } from "@weft/mesh/Identity"
import * as Link from "@weft/mesh/Link"
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import type { PeerId } from "@weft/mesh/PeerId"
import { PeerLinks } from "@weft/mesh/PeerLinks"
import * as QuicTransport from "@weft/mesh/QuicTransport"
import { Transport } from "@weft/mesh/Transport"
import { Clock, Context, Effect, Exit, Layer, Mailbox, Option, Schedule, Scope } from "effect"
import { directory } from "../../support/processes.ts"
import { writeModel } from "../looping.ts"
import { contextTokens, shape } from "./staging.ts"

/** Represents a peer of a test. */
export interface Peer {
  readonly place: PeerPlace
  readonly identity: Identity["Type"]
  readonly links: PeerLinks["Type"]
  /** Has it take this peer for its entry. */
  readonly trust: (entry: PeerId) => void
  readonly lender: StageLender.StageLender
  readonly host: GroupHost.GroupHost
  readonly offers: StageStock.StageStock["offers"]
  /** The engine of the pipeline that it hosts and that serves. */
  readonly serving: () => readonly [PipelineEngine, ModelDescription] | undefined
  /** Ends it as a process that is killed ends. */
  readonly vanish: Effect.Effect<void>
}

/** Represents what a peer of a test lends. */
export interface PeerOptions {
  readonly memoryBytes?: number
  readonly only?: StageRange
  /** What it waits for before it takes a stage. */
  readonly gate?: Effect.Effect<unknown>
  /** Of its engines, beside one thread. */
  readonly config?: StageStock.StageStockOptions["config"]
}

/** Writes the model of the tests. */
export const prepare = Effect.gen(function* () {
  const path = yield* Effect.flatMap(directory, (folder) => Effect.promise(() => writeModel(folder, shape("Q8_0"), 11)))
  return yield* ModelFile.open(path)
})

/** Returns what is said of the model. */
export const describe = (file: ModelFile.ModelFile): ModelDescription => ({
  id: "m",
  sha256: file.sha256,
  sizeBytes: file.sizeBytes,
  architecture: file.header.architecture,
  quantization: file.header.quantization,
  contextTokens,
  slots: 2
})

const transport = Layer.provide(QuicTransport.layer({ host: "127.0.0.1", port: 0 }), Certificate.layer)

/** Starts a peer that has the model. */
export const startPeer = (file: ModelFile.ModelFile, options: PeerOptions = {}) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    return yield* Scope.extend(makePeer(file, options, scope), scope)
  })

const makePeer = (file: ModelFile.ModelFile, options: PeerOptions, scope: Scope.CloseableScope) =>
  Effect.gen(function* () {
    const base = yield* Layer.build(Layer.merge(transport, Identity.layerEphemeral))
    const mesh = yield* Effect.provide(Layer.build(PeerLinks.layer), base)
    const links = Context.get(mesh, PeerLinks)
    const identity = Context.get(base, Identity)
    const { id } = identity
    const whole = StageStock.make({
      models: [yield* StageStock.lend(file, describe(file), options.only)],
      shelf: yield* StageShelf.make(join(yield* directory, "stages")),
      times: yield* LayerTimes.make({ path: undefined, threadsMax: 1 }),
      memoryBytes: options.memoryBytes ?? 1e9,
      config: { threads: 1, ...options.config }
    })
    const take: typeof whole.take = (...asked) => Effect.zipRight(options.gate ?? Effect.void, whole.take(...asked))
    const stock = { ...whole, take }
    let serving: readonly [PipelineEngine, ModelDescription] | undefined
    let trusted: PeerId | undefined
    const lender = yield* StageLender.make({ stock, links, self: id, entry: () => trusted })
    const host = GroupHost.make({
      self: id,
      speculates: true,
      stock,
      links,
      onServing: (engine, model) => {
        serving = [engine, model]
      },
      onEnded: () => {
        serving = undefined
      }
    })
    yield* links.serve(({ kind, stream }, link) => {
      if (kind === "stage") return lender.serve(stream, link)
      if (kind === "split") return host.serve(stream)
      StageEdge.accept(stream, (edge) => (edge.edge.to === "host" ? host : lender).takeEdge(edge, link.peer))
      return undefined
    })
    const address = Context.get(base, Transport).address.replace("quic://", "")
    return {
      place: { peer: id, address },
      identity,
      links,
      trust: (entry) => {
        trusted = entry
      },
      lender,
      host,
      offers: stock.offers,
      serving: () => serving,
      vanish: Scope.close(scope, Exit.void)
    } satisfies Peer
  })

/** Represents a peer that says what a test has it say. */
export interface Stranger {
  readonly place: PeerPlace
  readonly links: PeerLinks["Type"]
}

/** Starts a peer whose streams go to `serve`. */
export const startStranger = (serve: (incoming: Link.Incoming, stranger: Stranger, link: Link.Link) => void) =>
  Effect.gen(function* () {
    const base = yield* Layer.build(Layer.merge(transport, Identity.layerEphemeral))
    const links = Context.get(yield* Effect.provide(Layer.build(PeerLinks.layer), base), PeerLinks)
    const address = Context.get(base, Transport).address.replace("quic://", "")
    const stranger = { place: { peer: Context.get(base, Identity).id, address }, links }
    yield* links.serve((incoming, link) => {
      serve(incoming, stranger, link)
      return undefined
    })
    return stranger
  })

/** Represents what the entry hears of a pipeline. */
export interface Wish {
  /** Returns the next event with this tag, and leaves out what is before it. */
  readonly until: <Tag extends GroupEvent["_tag"]>(tag: Tag) => Effect.Effect<Extract<GroupEvent, { _tag: Tag }>>
  readonly end: Effect.Effect<void>
}

const encodeForm = Frames.encode(Form)

/** Returns the permits of an entry for a stage of up to eight layers in each of these peers. */
export const permit = (
  entry: Peer,
  permitted: Omit<StagePermit.Permitted, "peer">,
  peers: ReadonlyArray<Pick<Peer, "place">>
) =>
  Effect.map(Clock.currentTimeMillis, (now) =>
    peers.map(({ place: { peer } }) => StagePermit.sign(entry.identity, { ...permitted, peer }, 8, now))
  )

/**
 * Asks the first of `peers` for a pipeline through them, cut at `cuts`, with these spares and these edges; all of them
 * take `entry` for theirs.
 */
export const ask = (
  entry: Peer,
  peers: readonly [Peer, ...ReadonlyArray<Pick<Peer, "place"> & Partial<Pick<Peer, "trust">>>],
  file: ModelFile.ModelFile,
  cuts: ReadonlyArray<number>,
  spares: ReadonlyArray<Peer> = [],
  edges: Partial<Pick<Form, "activations" | "permits">> = {}
) =>
  Effect.gen(function* () {
    const { layers } = file.header
    const bounds = [0, ...cuts, layers]
    const stages = peers.map(({ place }, index) => ({
      ...place,
      from: bounds[index] ?? 0,
      to: bounds[index + 1] ?? layers
    }))
    const stream = yield* Link.open(yield* entry.links.get(peers[0].place), "split")
    const group = "ab".repeat(16)
    for (const peer of [...peers, ...spares]) peer.trust?.(entry.identity.id)
    const permitted = { group, host: peers[0].place.peer, model: file }
    const form = {
      group,
      model: describe(file),
      layers,
      stages,
      spares: spares.map((one) => one.place),
      permits: yield* permit(entry, permitted, [...peers.slice(1), ...spares]),
      ...edges
    }
    yield* stream.write(encodeForm({ _tag: "Form", ...form }))
    const frames = Frames.reader(stream)
    const events = yield* Mailbox.make<GroupEvent>()
    const listen = Effect.gen(function* () {
      while (true) {
        const event = yield* frames.read(GroupEvent)
        if (Option.isNone(event)) return yield* events.end
        yield* events.offer(event.value)
      }
    })
    yield* Effect.forkScoped(Effect.catchAll(listen, () => events.end))
    const until: Wish["until"] = (tag) =>
      Effect.gen(function* () {
        const passed: Array<GroupEvent> = []
        while (true) {
          const event = yield* Effect.option(events.take)
          if (Option.isNone(event)) throw new Error(`no ${tag} came, but ${JSON.stringify(passed)}`)
          passed.push(event.value)
          // The tag says which of the union it is.
          if (event.value._tag === tag) return event.value as Extract<GroupEvent, { _tag: typeof tag }>
        }
      })
    return { until, end: Effect.ignore(stream.end) } satisfies Wish
  })

/** Waits until `condition` holds; each test's own deadline bounds it. */
export const until = (condition: () => boolean) =>
  Effect.repeat(Effect.sync(condition), { until: (holds) => holds, schedule: Schedule.spaced("5 millis") })
