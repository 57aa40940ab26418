/**
 * The mesh side of the entry: lets peers in, serves their control stream, and takes them out of the directory when
 * their session ends. Owns one fiber per session; a session that breaks the rules ends alone.
 *
 *   session ─ hello ─▶ Links.hold ─ control stream ─▶ MeshRpcs ─▶ PeerDirectoryActor
 */
import type { ActorStopped, MailboxFull } from "@weft/actors/ActorError"
import * as Announcement from "@weft/mesh/Announcement"
import * as ControlPlane from "@weft/mesh/ControlPlane"
import { Identity } from "@weft/mesh/Identity"
import * as Link from "@weft/mesh/Link"
import { MeshRpcs, NotRegistered, RegisterRefused } from "@weft/mesh/MeshProtocol"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import { toShort } from "@weft/mesh/PeerId"
import { type Session, Transport } from "@weft/mesh/Transport"
import { Clock, Effect, Either, Layer, Schedule } from "effect"
import * as ControlRate from "./ControlRate.ts"
import { Elections } from "./election/Elections.ts"
import { Links } from "./Links.ts"
import { Slots } from "./Slots.ts"

/** How often a peer looks whether its load changed. */
const heartbeatEveryMs = 1_000
/** How often silent peers are removed and round trips are noted. */
const sweepEvery = "5 seconds"
/** How often those who wait are looked at, whom nothing else would tell that their time is over. */
const serveQueuesEvery = "1 second"

/** Accepts peers until the layer is released. */
export const layer = Layer.scopedDiscard(
  Effect.gen(function* () {
    const transport = yield* Transport
    const directory = yield* PeerDirectoryActor
    const links = yield* Links
    const slots = yield* Slots
    yield* Effect.forkScoped(
      Effect.forever(Effect.flatMap(transport.accept, (session) => Effect.forkScoped(Effect.scoped(welcome(session)))))
    )
    yield* Effect.all([Effect.ignoreLogged(directory.ref.Sweep()), links.measure]).pipe(
      Effect.repeat(Schedule.spaced(sweepEvery)),
      Effect.forkScoped
    )
    yield* Effect.forkScoped(Effect.repeat(slots.serveQueues, Schedule.spaced(serveQueuesEvery)))
  })
)

// internal

/** The life of one session, from the hello to its end. */
const welcome = (session: Session) =>
  Effect.gen(function* () {
    const links = yield* Links
    const link = yield* Link.accept(session, { role: "entry", accepts: "peer" })
    const replaced = yield* links.hold(link)
    if (replaced !== undefined) yield* replaced.session.close(Link.CloseCode.replaced, "this peer dialled again")
    yield* Effect.addFinalizer(() => leave(link))
    yield* Effect.logInfo(`peer ${toShort(link.peer)} connected from ${session.remoteAddress}`)
    const handlers = yield* serveLink(link)
    const ended = yield* Link.serve(link, (incoming) =>
      incoming.kind === "control"
        ? ControlPlane.serve(incoming, handlers)
        : incoming.stream.reset(Link.ResetCode.unknownKind)
    )
    yield* Effect.logInfo(`peer ${toShort(link.peer)} is gone: ${ended.message}`)
  }).pipe(
    Effect.catchTag("HelloRefused", (refused) => Effect.logWarning(`${session.remoteAddress}: ${refused.message}`)),
    Effect.annotateLogs({ module: "MeshListener" })
  )

/** What the entry does for the peer at the other end of `link`; who asks is known from the link alone. */
const serveLink = Effect.fnUntraced(function* (link: Link.Link) {
  const directory = yield* PeerDirectoryActor
  const slots = yield* Slots
  const elections = yield* Elections
  const context = yield* Effect.context<PeerDirectoryActor | Slots>()
  const { id: audience } = yield* Identity
  let lastSequence = -1
  let rate = ControlRate.make(yield* Clock.currentTimeMillis)
  /** Counts a call and says whether the directory may hear of it; one too many ends the session and has no answer. */
  const mayPass = Effect.gen(function* () {
    const [verdict, next] = ControlRate.call(rate, yield* Clock.currentTimeMillis)
    rate = next
    if (verdict !== "Flood") return verdict === "Pass"
    yield* link.session.close(Link.CloseCode.flooded, `more than ${ControlRate.calledPerSecond} calls a second`)
    return yield* Effect.never
  })
  return MeshRpcs.of({
    Register: Effect.fnUntraced(function* ({ announcement }) {
      yield* mayPass
      const opened = Announcement.open(announcement, {
        sender: link.peer,
        audience,
        lastSequence,
        now: yield* Clock.currentTimeMillis
      })
      if (Either.isLeft(opened)) {
        return yield* new RegisterRefused({ reason: "AnnouncementRefused", detail: opened.left.message })
      }
      lastSequence = opened.right.sequence
      yield* refusedWhenBusy(directory.ref.Register({ info: opened.right.info, link: link.number }))
      yield* slots.serveQueues
      return { heartbeatEveryMs }
    }),
    Heartbeat: Effect.fnUntraced(function* ({ load }) {
      if (!(yield* mayPass)) return { nowMs: yield* Clock.currentTimeMillis }
      const known = yield* Effect.orElseSucceed(
        directory.ref.Heartbeat({ peer: link.peer, link: link.number, load }),
        () => false
      )
      yield* slots.serveQueues
      return known ? { nowMs: yield* Clock.currentTimeMillis } : yield* new NotRegistered()
    }),
    Elect: ({ standing }) =>
      Effect.flatMap(mayPass, (passes) => (passes ? elections.ask(link.peer, standing) : Effect.succeed(null))),
    Leave: () => Effect.zipRight(mayPass, Effect.provide(leave(link), context))
  })
})

/** Takes the peer out of the directory; who waited for it alone is told. */
const leave = Effect.fnUntraced(function* ({ number, peer }: Link.Link) {
  yield* Effect.ignoreLogged((yield* PeerDirectoryActor).ref.Leave({ peer, link: number }))
  yield* (yield* Slots).serveQueues
})

/** A directory that cannot take more now refuses; the peer comes again with its backoff. */
const refusedWhenBusy = Effect.mapError((error: MailboxFull | ActorStopped | RegisterRefused) =>
  error._tag === "RegisterRefused" ? error : new RegisterRefused({ reason: "DirectoryFull", detail: error.message })
)
