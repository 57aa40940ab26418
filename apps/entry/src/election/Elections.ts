/**
 * The entry's side of the election of solo workers. Owns the state of `ElectionState.ts`; after a crash it begins
 * empty, and the peers' standings bring it up to date.
 *
 *   directory, Demand ─ look ─▶ state      peer ─ Elect ─▶ MeshListener ─ Ask ─▶ state ─▶ order
 */
import { Rpc, RpcGroup } from "@effect/rpc"
import * as Actor from "@weft/actors/Actor"
import { Order, Standing } from "@weft/mesh/election/ElectionProtocol"
import * as ElectionState from "@weft/mesh/election/ElectionState"
import { Identity } from "@weft/mesh/Identity"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import { PeerId, toShort } from "@weft/mesh/PeerId"
import { Clock, Context, Effect, Layer, Schedule, Schema } from "effect"
import { Demand } from "./Demand.ts"
import * as ElectionMetrics from "./ElectionMetrics.ts"

/** What the election is told. */
class ElectionRpcs extends RpcGroup.make(
  /** Decides anew. */
  Rpc.make("Look"),
  /** Answers what a peer that asks is to serve. */
  Rpc.make("Ask", { payload: { peer: PeerId, standing: Standing }, success: Schema.NullOr(Order) })
) {}

/** Elects the solo workers among peers that hold more models than they can serve at once. */
export class Elections extends Context.Tag("@weft/entry/Elections")<
  Elections,
  {
    /** Returns the order for the peer; null where there is none, or the election is busy: the peer asks again. */
    readonly ask: (peer: PeerId, standing: Standing) => Effect.Effect<Order | null>
    /** Returns the elections as they are now. */
    readonly unsafeSnapshot: () => ElectionState.ElectionState
  }
>() {
  static readonly layer = Layer.scoped(
    Elections,
    Effect.suspend(() => make)
  )
}

/** How often the election looks, as often as peers ask. */
const lookEveryMs = 1_000
/** An ask per second of a thousand electing peers; those refused ask again. */
const mailboxCapacity = 1_024

// internal

const make = Effect.gen(function* () {
  const directory = yield* PeerDirectoryActor
  const demand = yield* Demand
  const { id: self } = yield* Identity
  const clock = yield* Effect.clock
  let state = ElectionState.empty
  /** The last refusal of each peer: it is said with every ask until the peer follows an order again. */
  const refusals = new Map<PeerId, string>()
  ElectionMetrics.observe(
    () => state,
    () => clock.unsafeCurrentTimeMillis()
  )
  const noteRefusal = (peer: PeerId, { refused }: Standing): void => {
    const known = state.get(peer)
    if (known === undefined || refused?.entry !== self || refused.epoch > known.epoch) return void refusals.delete(peer)
    const said = `${refused.epoch} ${refused.reason}`
    if (refusals.get(peer) !== said) ElectionMetrics.refused(refused.reason)
    refusals.set(peer, said)
  }
  const build = Effect.sync(() => {
    state = ElectionState.empty
    return ElectionRpcs.of({
      Look: Effect.fnUntraced(function* () {
        const snapshot = directory.unsafeSnapshot()
        const candidates = [...snapshot.peers.values()].flatMap(({ info }) => info.solo?.candidates ?? [])
        const requests = demand.look(new Set(candidates.map(({ model }) => model.id)), lookEveryMs)
        const before = state
        state = ElectionState.look(state, snapshot, requests, yield* Clock.currentTimeMillis)
        for (const peer of refusals.keys()) if (!state.has(peer)) refusals.delete(peer)
        ElectionMetrics.decided(before, state)
        yield* report(before, state)
      }),
      Ask: ({ peer, standing }) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          noteRefusal(peer, standing)
          const [order, next] = ElectionState.ask(state, self, peer, standing, now)
          state = next
          return order
        })
    })
  })
  const { ref } = yield* Actor.spawn(electionActor, build, { mailboxCapacity })
  const look = Effect.ignoreLogged(ref.Look())
  yield* Effect.forkScoped(Effect.repeat(look, Schedule.spaced(lookEveryMs)))
  return {
    ask: (peer: PeerId, standing: Standing) => Effect.orElseSucceed(ref.Ask({ peer, standing }), () => null),
    unsafeSnapshot: () => state
  }
}).pipe(Effect.annotateLogs({ module: "Elections" }))

const electionActor = Actor.make("Election", ElectionRpcs)

/** Says what changed; `GET /api/elections` shows all of it. */
const report = (before: ElectionState.ElectionState, after: ElectionState.ElectionState) =>
  Effect.forEach(
    after,
    ([peer, { assignments, changedAtMs }]) =>
      changedAtMs === (before.get(peer)?.changedAtMs ?? 0)
        ? Effect.void
        : Effect.forEach(assignments, ({ model, role, why }) =>
            Effect.logInfo(`peer ${toShort(peer)} is ${role} of ${model}: ${why}`)
          ),
    { discard: true }
  )
