/**
 * The models the entry has split among peers. Owns the state of `SplitState.ts` and one fiber per group: it sends the
 * host a `Form` on a stream whose life is the group's, and listens to what becomes of it. Ending the fiber ends the
 * stream, and so the group.
 *
 *   directory, links ─▶ SplitModels ─▶ SplitState.look ─ Form ─▶ host ─ GroupEvent ─▶ SplitState.told
 */
import { toText } from "@weft/engine/pipeline/PipelinePlan"
import { GroupEvent } from "@weft/engine/pipeline/PipelineProtocol"
import * as Frames from "@weft/mesh/Frames"
import { Identity } from "@weft/mesh/Identity"
import * as Link from "@weft/mesh/Link"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import { toShort } from "@weft/mesh/PeerId"
import type { MeshStream } from "@weft/mesh/Transport"
import { Clock, Context, Effect, FiberMap, Layer, Option, Random, Schedule } from "effect"
import { EntryConfig } from "../EntryConfig.ts"
import { Links } from "../Links.ts"
import * as SplitMessages from "./SplitMessages.ts"
import * as SplitMetrics from "./SplitMetrics.ts"
import { splitModels } from "./SplitModels.ts"
import * as SplitState from "./SplitState.ts"

/** Shows which models are split, and why they are split as they are. */
export class Splits extends Context.Tag("@weft/entry/Splits")<
  Splits,
  {
    /** Returns the splits as they are now. */
    readonly unsafeSnapshot: () => SplitState.SplitState
  }
>() {
  static readonly layer = Layer.scoped(
    Splits,
    Effect.suspend(() => make)
  )
}

/** How often the mesh is looked at; where nothing changed, a look is a comparison. */
const lookEvery = "500 millis"

// internal

const make = Effect.gen(function* () {
  const directory = yield* PeerDirectoryActor
  const links = yield* Links
  const { forceSplit, splitActivations } = yield* EntryConfig
  const messages = SplitMessages.make(yield* Identity, splitActivations)
  const fibers = yield* FiberMap.make<string>()
  const streams = new Map<string, MeshStream>()
  const names = yield* groupNames
  let state = SplitState.empty
  SplitMetrics.observe(() => state)

  const told = (group: SplitState.Group, event: GroupEvent) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      state = SplitState.told(state, group.group, event, now)
      return report(group, event)
    })

  /** The life of one group, on its stream. */
  const run = Effect.fnUntraced(function* (group: SplitState.Group) {
    const link = links.link(group.host)
    if (link === undefined) return
    const stream = yield* Link.open(link, "split")
    yield* Effect.acquireRelease(
      Effect.sync(() => streams.set(group.group, stream)),
      () => Effect.sync(() => streams.delete(group.group))
    )
    yield* stream.write(messages.form(group, yield* Clock.currentTimeMillis))
    const frames = Frames.reader(stream)
    while (true) {
      const event = yield* frames.read(GroupEvent)
      if (Option.isNone(event)) return
      yield* told(group, event.value)
    }
  }, Effect.scoped)

  const form = (group: SplitState.Group) =>
    run(group).pipe(
      Effect.catchAll((error) => Effect.logWarning(`the split of ${group.model.id} is over: ${error.message}`)),
      Effect.ensuring(
        Effect.map(Clock.currentTimeMillis, (now) => {
          state = SplitState.ended(state, group.group, now)
        })
      )
    )

  const look = Effect.gen(function* () {
    const models = splitModels(directory.unsafeSnapshot(), links.reaches())
    const before = state
    const options = { forceSplit, group: names.next() }
    const now = yield* Clock.currentTimeMillis
    const [actions, next] = SplitState.look(state, models, options, now)
    state = next
    yield* explain(before, next)
    for (const action of actions) {
      switch (action._tag) {
        case "Form":
          yield* FiberMap.run(fibers, action.group.group, form(action.group))
          break
        case "Offer":
          streams.get(action.group.group)?.unsafeWrite(messages.spares(action.group, now))
          break
        case "Disband":
          yield* FiberMap.remove(fibers, action.group)
      }
    }
  })
  yield* Effect.forkScoped(Effect.repeat(look, Schedule.spaced(lookEvery)))
  return { unsafeSnapshot: () => state }
}).pipe(Effect.annotateLogs({ module: "Splits" }))

/** Names of groups: 96 random bits of this entry, and a number that comes again after 68 years of looks. */
const groupNames = Effect.map(Effect.replicateEffect(Random.nextIntBetween(0, 256), 12), (bytes) => {
  const own = Uint8Array.from(bytes).toHex()
  let last = 0
  return {
    next: (): string => {
      last = (last + 1) % 2 ** 32
      return `${own}${last.toString(16).padStart(8, "0")}`
    }
  }
})

/** Says of each new plan why everybody has the part they have; `GET /api/splits` shows the last. */
const explain = (before: SplitState.SplitState, after: SplitState.SplitState) =>
  Effect.forEach(
    after.outlooks,
    ([model, { explanations }]) =>
      explanations === before.outlooks.get(model)?.explanations
        ? Effect.void
        : Effect.forEach(explanations, (one) => Effect.logDebug(`${model}: peer ${toShort(one.peer)}. ${toText(one)}`)),
    { discard: true }
  )

const report = ({ model }: SplitState.Group, event: GroupEvent) => {
  switch (event._tag) {
    case "Forming":
      return Effect.logDebug(`${model.id}: peer ${toShort(event.peer)} is ${event.state} (${event.fraction})`)
    case "Serving": {
      const stages = event.stages.map(({ from, peer, to }) => `${toShort(peer)} [${from}, ${to})`).join(" → ")
      return Effect.logInfo(`${model.id} is served split: ${stages} (epoch ${event.epoch})`)
    }
    case "Broken":
      return Effect.logWarning(`${model.id}: a stage is lost, the host heals the split: ${event.reason}`)
    case "Disbanded":
      return Effect.logWarning(`${model.id} is split no more: ${event.reason}`)
  }
}
