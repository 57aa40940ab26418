/**
 * The pipelines that this peer hosts: takes `split` streams of the entry, forms a group for each, and hands edges to
 * the group that they belong to. The end of a stream is the end of its group.
 */
import * as Frames from "@weft/mesh/Frames"
import * as Link from "@weft/mesh/Link"
import type { PeerId } from "@weft/mesh/PeerId"
import type { MeshStream } from "@weft/mesh/Transport"
import { Effect, Option } from "effect"
import * as Group from "./Group.ts"
import { refusalOf } from "./GroupState.ts"
import type { PipelineEngine } from "./PipelineEngine.ts"
import { Form, GroupEvent, Spares } from "./PipelineProtocol.ts"
import * as SplitMetrics from "./SplitMetrics.ts"
import type { EdgeIn } from "./StageEdge.ts"

/** Represents what a host is made of. */
export interface GroupHostOptions extends Omit<Group.GroupOptions, "form" | "tell"> {
  readonly self: PeerId
  /** Called when the engine of a group that served is gone. */
  readonly onEnded: (engine: PipelineEngine) => void
}

/** Represents the groups of one peer. */
export interface GroupHost {
  /** Serves a `split` stream, which must be the entry's, to its end. */
  readonly serve: (stream: MeshStream) => Effect.Effect<void>
  /** Takes an edge to the host, or resets it. */
  readonly takeEdge: (edge: EdgeIn, from: PeerId) => void
  readonly status: () => ReadonlyArray<Group.GroupStatus>
}

/** Groups of one host: each has a process and the layers of a model. */
const groupsMax = 8
/** Longest wish: 16 stages, 8 spares, their permits and a model with its names, of some 200 bytes each. */
const formBytesMax = 32 * 1024
/** The wish comes with the stream. */
const formDeadline = "10 seconds"
/** An entry that does not read is told that much of a group. */
const eventsBytesMax = 256 * 1024
/** Some round trips; an entry that does not end its direction is not waited for. */
const farewellDeadline = "5 seconds"

/** Returns a host without groups. */
export const make = (options: GroupHostOptions): GroupHost => {
  const { self } = options
  const groups = new Map<string, Group.Group>()
  SplitMetrics.observeGroups(() => [...groups.values()].map((group) => group.status().phase))

  const host = (stream: MeshStream, frames: Frames.FrameReader, form: Form, tell: (event: GroupEvent) => void) =>
    Effect.gen(function* () {
      let served: PipelineEngine | undefined
      const end = (): void => {
        if (served !== undefined) options.onEnded(served)
        served = undefined
      }
      yield* Effect.addFinalizer(() => Effect.sync(end))
      const group = yield* Group.make({
        ...options,
        form,
        tell: (event) => {
          if (event._tag === "Disbanded") end()
          tell(event)
        },
        onServing: (engine, model) => {
          served = engine
          options.onServing(engine, model)
        }
      })
      yield* Effect.acquireRelease(
        Effect.sync(() => groups.set(form.group, group)),
        () => Effect.sync(() => groups.delete(form.group))
      )
      const left = Effect.match(Effect.raceFirst(takeOffers(frames, group), stream.closed), {
        onFailure: ({ message }) => message,
        onSuccess: () => "the entry ended the group"
      })
      const dissolved = Effect.map(left, group.dissolve)
      yield* Effect.raceFirst(Effect.zipRight(dissolved, Effect.never), group.disbanded)
    }).pipe(Effect.scoped)

  const begin = Effect.fnUntraced(function* (stream: MeshStream) {
    const tell = (event: GroupEvent): void => {
      if (stream.unsafeWrite(encodeEvent(event)) > eventsBytesMax) stream.unsafeReset(Link.ResetCode.overrun)
    }
    const frames = Frames.reader(stream, { sizeBytesMax: formBytesMax })
    const form = Option.getOrUndefined(yield* Effect.timeout(frames.read(Form), formDeadline))
    if (form === undefined) return
    const refusal =
      refusalOf(form, self) ??
      (groups.has(form.group) ? "the group is there already" : undefined) ??
      (groups.size >= groupsMax ? "this peer hosts enough groups" : undefined)
    if (refusal === undefined) yield* host(stream, frames, form, tell)
    else tell({ _tag: "Disbanded", reason: refusal })
    // The last word is read before the stream is let go.
    yield* stream.end
    yield* Effect.timeout(stream.closed, farewellDeadline)
  })

  return {
    serve: (stream) =>
      Effect.catchAll(begin(stream), (error) => Effect.logInfo(`a group ended: ${error.message}`)).pipe(
        Effect.annotateLogs({ module: "GroupHost" })
      ),
    takeEdge: (edge, from) => {
      if (groups.get(edge.edge.group)?.takeEdge(edge, from) !== true) edge.reset()
    },
    status: () => [...groups.values()].map((group) => group.status())
  }
}

// internal

/** Takes what the entry says of spares until it ends its direction. */
const takeOffers = (frames: Frames.FrameReader, group: Group.Group) =>
  Effect.gen(function* () {
    while (true) {
      const offer = yield* frames.read(Spares)
      if (Option.isNone(offer)) return
      group.offer(offer.value)
    }
  })

const encodeEvent = Frames.encode(GroupEvent)
