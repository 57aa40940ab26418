/**
 * Peers of a simulation: the real lender, host and links of each over the memory network, with a stock that has every
 * layer and children that are no processes. A peer can die in three ways and come back under its name.
 */
import * as Crypto from "node:crypto"
import { EngineConfig } from "@weft/engine/EngineConfig"
import type { ModelFile } from "@weft/engine/ModelFile"
import * as GroupHost from "@weft/engine/pipeline/GroupHost"
import type { PipelineEngine } from "@weft/engine/pipeline/PipelineEngine"
import type { PeerPlace } from "@weft/engine/pipeline/PipelineProtocol"
import * as StageEdge from "@weft/engine/pipeline/StageEdge"
import * as StageLender from "@weft/engine/pipeline/StageLender"
import * as StagePermit from "@weft/engine/pipeline/StagePermit"
import { NotInStock, type StageStock } from "@weft/engine/pipeline/StageStock"
import { Identity } from "@weft/mesh/Identity"
import * as MemoryTransport from "@weft/mesh/MemoryTransport"
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import * as PeerId from "@weft/mesh/PeerId"
import { PeerLinks } from "@weft/mesh/PeerLinks"
import { Context, type Duration, Effect, Layer, Schema } from "effect"
import { HostSpawn } from "../../../packages/engine/src/internal/HostProcess.ts"
import * as Ed25519 from "../../../packages/mesh/src/internal/ed25519.ts"
import * as Arithmetic from "./arithmetic.ts"
import * as Children from "./children.ts"

/** Most tokens of a prompt and its answer. */
export const contextTokens = 400

/** Represents how a peer of a simulation is. */
export interface PeerNature {
  readonly child: () => Children.ChildOptions
  /** What reading its stage's file takes. */
  readonly fileMs: number
  /** What its stock says to a stage; none where it hands it out. */
  readonly refusal: () => string | undefined
  /** It runs other files than they should be. */
  readonly isLiar: boolean
  readonly pairRows: boolean
  readonly speculates: boolean
  /** Longest silence of a child that has work. */
  readonly turnDeadline: Duration.Duration
}

/** Represents a peer while it lives. */
export interface Peer {
  readonly place: PeerPlace
  readonly links: PeerLinks["Type"]
  readonly lender: StageLender.StageLender
  readonly host: GroupHost.GroupHost
  readonly children: Children.Children
  /** Stages that its stock has handed out. */
  readonly taken: () => number
}

/** Represents who is told of the pipelines that a peer hosts. */
export interface Pipelines {
  readonly serving: (engine: PipelineEngine) => void
  readonly ended: (engine: PipelineEngine) => void
}

/** Returns the name of a peer on the network. */
export const nameOf = (number: number): string => `peer-${number}`

/** Returns where a peer is. */
export const placeOf = (number: number): PeerPlace => ({
  peer: identityOf(number).id,
  address: `memory://${nameOf(number)}`
})

/** The entry's; peers count from 1. */
const entryNumber = 0

/** Returns the entry's permits for a stage of any size in each of these places. */
export const permitsOf = (
  permitted: Omit<StagePermit.Permitted, "peer">,
  places: ReadonlyArray<PeerPlace>,
  nowMs: number
): ReadonlyArray<StagePermit.StagePermit> =>
  places.map(({ peer }) =>
    StagePermit.sign(identityOf(entryNumber), { ...permitted, peer }, Arithmetic.layers, Math.floor(nowMs))
  )

/** Returns what is said of the model. */
export const describe = (slots: number): ModelDescription => ({
  id: "m",
  sha256: "5".repeat(64),
  sizeBytes: 1,
  architecture: "llama",
  quantization: "Q8_0",
  contextTokens,
  slots
})

/** Starts a peer, which ends with its scope. */
export const start = (number: number, nature: PeerNature, pipelines: Pipelines) =>
  Effect.gen(function* () {
    const self = identityOf(number)
    const transport = MemoryTransport.layer({ name: nameOf(number) })
    const mesh = PeerLinks.layer.pipe(Layer.provide(Layer.merge(transport, Layer.succeed(Identity, self))))
    const children = Children.make(nature.child)
    const lends = Effect.gen(function* () {
      const links = Context.get(yield* Layer.build(mesh), PeerLinks)
      const { stock, taken } = stockOf(nature)
      const lender = yield* StageLender.make({ stock, links, self: self.id, entry: () => identityOf(entryNumber).id })
      const host = GroupHost.make({
        self: self.id,
        speculates: nature.speculates,
        stock,
        links,
        onServing: pipelines.serving,
        onEnded: pipelines.ended
      })
      yield* links.serve(({ kind, stream }, link) => {
        if (kind === "stage") return lender.serve(stream, link)
        if (kind === "split") return host.serve(stream)
        StageEdge.accept(stream, (edge) => (edge.edge.to === "host" ? host : lender).takeEdge(edge, link.peer))
        return undefined
      })
      return { place: placeOf(number), links, lender, host, children, taken } satisfies Peer
    })
    return yield* Effect.provideService(lends, HostSpawn, children.spawn)
  })

// internal

/** PKCS#8 up to the 32 bytes of an Ed25519 key (RFC 8410, section 7). */
const pkcs8Prefix = Buffer.from("302e020100300506032b657004220420", "hex")

const identities = new Map<number, Identity["Type"]>()

/** The same number has the same key in every run. */
const identityOf = (number: number): Identity["Type"] => {
  const known = identities.get(number)
  if (known !== undefined) return known
  const seed = Buffer.alloc(32, number + 1)
  const key = Crypto.createPrivateKey({ key: Buffer.concat([pkcs8Prefix, seed]), format: "der", type: "pkcs8" })
  const made = {
    id: PeerId.fromPublicKey(Ed25519.publicKey(key)),
    sign: (bytes: Uint8Array) => Ed25519.sign(key, bytes)
  }
  identities.set(number, made)
  return made
}

const fileOf = (from: number, to: number, { isLiar, pairRows }: PeerNature): ModelFile => ({
  path: Children.pathOf(from, to),
  sha256: `${isLiar ? "f" : "0"}${from}${to}`.padStart(64, "0"),
  sizeBytes: 1,
  header: {
    version: 3,
    architecture: "llama",
    name: undefined,
    contextTokens,
    layers: to - from,
    embeddingLength: Arithmetic.width,
    vocabularySize: Arithmetic.vocabularyTokens,
    quantization: pairRows ? "F16" : "Q8_0",
    chatTemplate: undefined,
    tokens: { bosToken: "", eosToken: "", controlTokens: [], addBos: false },
    stage: { from, to, layers: Arithmetic.layers, source: undefined, inputScale: undefined },
    alignmentBytes: 32,
    dataOffset: 0,
    metadata: new Map(),
    tensors: []
  }
})

const stockOf = (nature: PeerNature): { readonly stock: StageStock; readonly taken: () => number } => {
  let taken = 0
  const stock: StageStock = {
    models: [],
    measured: () => {},
    offersChanged: Effect.never,
    takeDraft: () => Effect.succeedNone,
    take: ({ contextTokens, from, slots, to }, onProgress) =>
      Effect.gen(function* () {
        const refusal = nature.refusal()
        if (refusal !== undefined) return yield* new NotInStock({ reason: "memory", message: refusal })
        yield* Effect.acquireRelease(
          Effect.sync(() => taken++),
          () => Effect.sync(() => taken--)
        )
        yield* Effect.sleep(nature.fileMs)
        onProgress(1)
        const { turnDeadline } = nature
        const config = Schema.decodeSync(EngineConfig)({ contextTokens, slots, threads: 1, turnDeadline })
        return { file: fileOf(from, to, nature), config, memoryBytes: 2 ** 30 }
      }),
    sha256Of: ({ from, to }) => Effect.succeed(fileOf(from, to, { ...nature, isLiar: false }).sha256),
    offers: Effect.succeed([]),
    freeBytes: () => 2 ** 30
  }
  return { stock, taken: () => taken }
}
