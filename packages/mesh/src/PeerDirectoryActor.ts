/**
 * Owns the entry's directory of peers: takes registrations, heartbeats and leaves one at a time, and lets everyone read
 * the current state without asking. After a crash it begins empty, and the peers register again with their next beat.
 *
 *   link's control stream → ref (ask) → `PeerDirectory.ts` (pure) → snapshot
 */
import { Rpc, RpcGroup } from "@effect/rpc"
import * as Actor from "@weft/actors/Actor"
import type { ActorRef } from "@weft/actors/ActorRef"
import type { ChildFailed } from "@weft/actors/ChildFailed"
import { Clock, Context, Effect, Layer, Schema } from "effect"
import { RegisterRefused } from "./MeshProtocol.ts"
import * as PeerDirectory from "./PeerDirectory.ts"
import { departed, observeDirectory, registrationEnded } from "./PeerDirectoryMetrics.ts"
import { PeerId } from "./PeerId.ts"
import { PeerInfo, PeerLoad } from "./PeerInfo.ts"

/** What the directory is told; `link` is the number of the link it came over. */
export class PeerDirectoryRpcs extends RpcGroup.make(
  Rpc.make("Register", { payload: { info: PeerInfo, link: Schema.Int }, error: RegisterRefused }),
  /** Answers whether the peer is registered over this link. */
  Rpc.make("Heartbeat", { payload: { peer: PeerId, link: Schema.Int, load: PeerLoad }, success: Schema.Boolean }),
  Rpc.make("Leave", { payload: { peer: PeerId, link: Schema.Int } }),
  /** Removes the peers that have been silent for too long. */
  Rpc.make("Sweep")
) {}

/** The directory as the rest of the entry uses it. */
export class PeerDirectoryActor extends Context.Tag("@weft/mesh/PeerDirectoryActor")<
  PeerDirectoryActor,
  {
    readonly ref: ActorRef<RpcGroup.Rpcs<typeof PeerDirectoryRpcs>>
    /** Returns the directory as it is now. */
    readonly unsafeSnapshot: () => PeerDirectory.PeerDirectory
    /** Fails when the actor gave up: the entry must not go on without it. */
    readonly join: Effect.Effect<void, ChildFailed>
  }
>() {
  /** Removes peers that were silent for longer than `silenceMsMax`. */
  static readonly layer = (silenceMsMax: number = silenceMsMaxDefault) =>
    Layer.scoped(PeerDirectoryActor, make(silenceMsMax))
}

/** Three heartbeats of a peer whose load stays as it is; a dead link is noticed by its session in under 2 s anyway. */
const silenceMsMaxDefault = 15_000
/** A beat per second of some thousand peers, for as long as a busy machine may stall. */
const mailboxCapacity = 8_192

// internal

type Step = (directory: PeerDirectory.PeerDirectory, now: number) => PeerDirectory.PeerDirectory

const make = Effect.fnUntraced(function* (silenceMsMax: number) {
  let current = PeerDirectory.empty
  observeDirectory(() => current)
  const update = (step: Step) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      current = step(current, now)
      return current
    })
  const removing = (why: "link" | "silence", step: Step) =>
    Effect.suspend(() => {
      const before = current.peers.size
      return Effect.map(update(step), ({ peers }) => departed(why, before - peers.size))
    })
  const build = Effect.gen(function* () {
    current = PeerDirectory.empty
    return PeerDirectoryRpcs.of({
      Register: Effect.fnUntraced(function* ({ info, link }) {
        const now = yield* Clock.currentTimeMillis
        const next = yield* Effect.mapError(PeerDirectory.register(current, info, link, now), ({ reason }) => {
          registrationEnded(reason)
          return new RegisterRefused({ reason, detail: refusals[reason] })
        })
        yield* update(() => next)
        registrationEnded("accepted")
      }),
      Heartbeat: ({ link, load, peer }) =>
        Effect.map(
          update((directory, now) => PeerDirectory.heartbeat(directory, peer, link, load, now)),
          (directory) => PeerDirectory.isRegistered(directory, peer, link)
        ),
      Leave: ({ link, peer }) => removing("link", (directory) => PeerDirectory.leave(directory, peer, link)),
      Sweep: () => removing("silence", (directory, now) => PeerDirectory.expire(directory, silenceMsMax, now))
    })
  })
  const { join, ref } = yield* Actor.spawn(directoryActor, build, { mailboxCapacity })
  return { ref, join, unsafeSnapshot: () => current }
})

const directoryActor = Actor.make("PeerDirectory", PeerDirectoryRpcs)

const refusals = {
  DirectoryFull: "this entry holds as many peers as it can; try another entry",
  StaleLink: "this peer has a newer link"
} as const
