/**
 * A stage of another peer, as the host of a pipeline holds it: the stream of its lease, from the `Reserve` with the
 * entry's permit to its end. Owned by a fiber of the group; what the stage says comes out as what happens to the group.
 */
import * as Frames from "@weft/mesh/Frames"
import * as Link from "@weft/mesh/Link"
import type { PeerLinks } from "@weft/mesh/PeerLinks"
import type { MeshStream } from "@weft/mesh/Transport"
import { Effect, Fiber, Option } from "effect"
import { type GroupHappening, happeningOf, type Wiring } from "./GroupState.ts"
import { type Form, type StagePlace, StageReply, StageRequest } from "./PipelineProtocol.ts"
import type { StagePermit } from "./StagePermit.ts"
import type { StageStock } from "./StageStock.ts"

/** Represents a stage that is to be held. */
export interface HeldStageOptions {
  readonly form: Form
  readonly stock: StageStock
  readonly links: PeerLinks["Type"]
  readonly place: StagePlace
  readonly permit: StagePermit
  /** As it is when the link is there. */
  readonly wiring: () => Wiring
}

/** Represents who is told of a stage. */
export interface HeldStageTold {
  /** The `Reserve` was sent on this stream, which takes each `rewire`. */
  readonly reserved: (stream: MeshStream) => void
  readonly happened: (happening: GroupHappening) => void
  /** The stage says that it has something to do. */
  readonly worked: (epoch: number) => void
}

/** Holds the stage until one of the two ends it; its stream ends with the scope. */
export const hold = (options: HeldStageOptions, lease: number, told: HeldStageTold) =>
  Effect.gen(function* () {
    const { links, place } = options
    const link = yield* links.get(place)
    const stream = yield* Link.open(link, "stage")
    told.reserved(stream)
    stream.unsafeWrite(encodeRequest(reservationOf(options)))
    const expected = yield* Effect.fork(sha256Of(options))
    const frames = Frames.reader(stream, { sizeBytesMax: replyBytesMax })
    while (true) {
      const reply = Option.getOrElse(yield* frames.read(StageReply), () => ended)
      if (reply._tag === "Working") {
        told.worked(reply.epoch)
        continue
      }
      const isOther = reply._tag === "Ready" && reply.stageSha256 !== (yield* Fiber.join(expected))
      const happening = happeningOf(lease, isOther ? another : reply)
      told.happened(happening)
      if (happening._tag === "Refused" || happening._tag === "Lost") return
    }
  })

/** Tells a stage its neighbours of a later epoch. */
export const rewire = (stream: MeshStream, wiring: Omit<Extract<StageRequest, { _tag: "Rewire" }>, "_tag">): void =>
  void stream.unsafeWrite(encodeRequest({ _tag: "Rewire", ...wiring }))

// internal

/** A reply of a stage is 700 bytes at most. */
const replyBytesMax = 4 * 1024

const encodeRequest = Frames.encode(StageRequest)

/** Returns what the stage file of these layers must be, as this peer would cut it. */
const sha256Of = ({ form: { layers, model }, place: { from, to }, stock }: HeldStageOptions) => {
  const { contextTokens, slots } = model
  return stock.sha256Of({ from, to, model, layers, contextTokens, slots })
}

const reservationOf = ({ form, permit, place: { from, to }, wiring }: HeldStageOptions): StageRequest => {
  const { activations, group, layers, model, stages } = form
  const host = stages[0]?.peer
  if (host === undefined) throw new Error("a form has stages")
  const { contextTokens, id, sha256, slots } = model
  const terms = { contextTokens, slots, ...(activations === undefined ? {} : { activations }) }
  return { _tag: "Reserve", group, model: { id, sha256 }, layers, from, to, ...terms, host, permit, ...wiring() }
}

const another = { _tag: "Lost", reason: "it runs another file than the one that these layers make" } as const
const ended = { _tag: "Lost", reason: "its stream ended" } as const
