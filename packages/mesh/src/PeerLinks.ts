/**
 * Links between peers, over the transport that a peer listens on and dials with. One link per peer serves all that the
 * two do; it is dialled when it is first asked for, and who dialled closes it when nothing has used it for a minute.
 * Owns a fiber for each link, in which the streams are served that the other side opens.
 *
 *   get ─▶ dial ─┐
 *                ├─ hello ─▶ held ─ streams ─▶ what `serve` was given
 *   accept ──────┘
 */
import { Context, Data, Deferred, Effect, FiberMap, FiberSet, Layer, type Scope } from "effect"
import type { HelloRefused } from "./Hello.ts"
import { Identity } from "./Identity.ts"
import * as Link from "./Link.ts"
import type { SessionError } from "./MeshError.ts"
import { type PeerId, toShort } from "./PeerId.ts"
import { type HeldLink, idle, preferred } from "./PeerLinkChoice.ts"
import { CloseCode } from "./Session.ts"
import { type Session, Transport } from "./Transport.ts"

/** Represents a peer that no link leads to. */
export class PeerUnreachable extends Data.TaggedError("PeerUnreachable")<{
  readonly peer: PeerId
  readonly detail: string
  readonly cause?: unknown
}> {
  override get message(): string {
    return `${toShort(this.peer)} cannot be reached: ${this.detail}`
  }
}

/** Takes a stream as for `Link.serve`, with the link it came over. */
export type StreamHandler = (
  incoming: Link.Incoming,
  link: Link.Link
) => Effect.Effect<void, never, Scope.Scope> | undefined

/** The links of this peer to others. */
export class PeerLinks extends Context.Tag("@weft/mesh/PeerLinks")<
  PeerLinks,
  {
    /**
     * Returns the link to a peer, dialled where there is none; it is not closed for want of use before the scope is. An
     * address without a scheme is one of the transport's own.
     */
    readonly get: (place: {
      readonly peer: PeerId
      readonly address: string
    }) => Effect.Effect<Link.Link, PeerUnreachable, Scope.Scope>
    /** Hands streams that other peers open to `handler` until the scope closes; before and after they are reset. */
    readonly serve: (handler: StreamHandler) => Effect.Effect<void, never, Scope.Scope>
    /** Links that are up. */
    readonly count: () => number
  }
>() {
  /** Accepts every session that the transport does, and closes all links when it is released. */
  static readonly layer: Layer.Layer<PeerLinks, never, Transport | Identity> = Layer.suspend(() =>
    Layer.scoped(PeerLinks, make)
  )
}

/** Most links at once: a peer is in few groups, of 32 stages at most. */
export const linksMax = 256
/** Most links with one peer: one for each direction of dialling, and the remains of a lost one. */
const linksOfPeerMax = 4
/** Most accepted sessions whose hello is not done; each may take five seconds. */
export const unprovenMax = 32
/** How long a link stays that nobody uses. */
export const idleLife = "1 minute"

// internal

type Made = Deferred.Deferred<Link.Link, PeerUnreachable>

const make = Effect.gen(function* () {
  const { id } = yield* Identity
  const transport = yield* Transport
  const held = new Map<number, HeldLink>()
  const dialling = new Map<PeerId, Made>()
  const expiry = yield* FiberMap.make<number>()
  const runExpiry = yield* FiberMap.runtime(expiry)()
  const lives = yield* FiberSet.makeRuntime<Transport | Identity>()
  const watch = yield* FiberSet.makeRuntime<never>()
  let handler: StreamHandler | undefined
  let unproven = 0
  let turn = 0

  const use = (one: HeldLink): void => {
    one.uses++
    runExpiry(one.link.number, Effect.void)
  }
  const expireLater = (one: HeldLink): void => {
    // Who dialled may hold it without a stream; the other side closes it when it needs the room.
    if (one.link.session.direction === "accepted") return
    const close = one.link.session.close(CloseCode.released, "nobody used the link")
    runExpiry(one.link.number, Effect.interruptible(Effect.delay(close, idleLife)))
  }
  const release = (one: HeldLink): void => {
    one.uses--
    one.unusedSince = ++turn
    if (one.uses === 0 && held.has(one.link.number)) expireLater(one)
  }

  const settle = (peer: PeerId, made: Made): void => {
    if (dialling.get(peer) === made) dialling.delete(peer)
  }

  const fail = (peer: PeerId, made: Made, error: PeerUnreachable) =>
    Effect.suspend(() => {
      settle(peer, made)
      return Deferred.fail(made, error)
    })

  /** Makes room for a link to `peer` by closing one that nobody uses; false where all are used. */
  const makeRoom = (peer: PeerId): Effect.Effect<boolean> => {
    const ofPeer = [...held.values()].filter(({ link }) => link.peer === peer)
    if (held.size < linksMax && ofPeer.length < linksOfPeerMax) return Effect.succeed(true)
    const unused = idle(ofPeer.length < linksOfPeerMax ? [...held.values()] : ofPeer)
    if (unused === undefined) return Effect.succeed(false)
    held.delete(unused.link.number)
    return Effect.as(unused.link.session.close(CloseCode.refused, "too many links"), true)
  }

  /** Serves a link that is up, to its end. */
  const live = Effect.fnUntraced(function* (link: Link.Link, made?: Made) {
    yield* Effect.addFinalizer(() => link.session.close(CloseCode.released, "leaving"))
    if (!(yield* makeRoom(link.peer))) {
      if (made !== undefined)
        yield* Deferred.fail(made, new PeerUnreachable({ peer: link.peer, detail: "this peer has too many links" }))
      return yield* link.session.close(CloseCode.refused, "too many links")
    }
    const one: HeldLink = { link, uses: 0, unusedSince: ++turn }
    yield* Effect.acquireRelease(
      Effect.sync(() => held.set(link.number, one)),
      () =>
        Effect.sync(() => {
          held.delete(link.number)
          runExpiry(link.number, Effect.void)
        })
    )
    expireLater(one)
    if (made !== undefined) {
      settle(link.peer, made)
      yield* Deferred.succeed(made, link)
    }
    yield* Link.serve(link, (incoming) => {
      const handled = handler?.(incoming, link)
      if (handler === undefined) incoming.stream.unsafeReset(Link.ResetCode.unknownKind)
      use(one)
      const over = Effect.ensuring(
        Effect.ignore(incoming.stream.closed),
        Effect.sync(() => release(one))
      )
      watch(Effect.interruptible(over))
      return handled
    })
  })

  const welcome = (session: Session) =>
    Link.accept(session, { role: "peer", accepts: "peer" }).pipe(
      Effect.ensuring(Effect.sync(() => unproven--)),
      Effect.flatMap((link) => live(link)),
      Effect.scoped,
      Effect.catchTag("HelloRefused", (refused) => Effect.logDebug(`${session.remoteAddress}: ${refused.message}`)),
      Effect.annotateLogs({ module: "PeerLinks" })
    )
  const accepting = Effect.flatMap(transport.accept, (session) => {
    if (unproven >= unprovenMax) return session.close(CloseCode.refused, "too many hellos at once")
    unproven++
    return Effect.sync(() => void lives(Effect.interruptible(welcome(session))))
  })
  yield* Effect.forkScoped(Effect.interruptible(Effect.forever(accepting)))

  const dial = (peer: PeerId, address: string, made: Made) =>
    Link.dial(address.includes("://") ? address : `${transport.scheme}://${address}`, {
      role: "peer",
      expected: peer
    }).pipe(
      Effect.mapError((cause) => unreachable(peer, cause)),
      Effect.tapError((error) => fail(peer, made, error)),
      Effect.flatMap((link) => live(link, made)),
      Effect.scoped,
      Effect.ignore,
      Effect.ensuring(fail(peer, made, new PeerUnreachable({ peer, detail: "this peer stops" })))
    )

  const linkTo = Effect.fnUntraced(function* (peer: PeerId, address: string) {
    if (peer === id) return yield* new PeerUnreachable({ peer, detail: "it is this peer" })
    const known = preferred(id, [...held.values()], peer)
    if (known !== undefined) return known
    const before = dialling.get(peer)
    const made: Made = before ?? (yield* Deferred.make<Link.Link, PeerUnreachable>())
    if (before === undefined) {
      dialling.set(peer, made)
      lives(Effect.interruptible(dial(peer, address, made)))
    }
    const { number } = yield* Deferred.await(made)
    // By now the other side may have dialled too.
    const one = preferred(id, [...held.values()], peer) ?? held.get(number)
    return one ?? (yield* new PeerUnreachable({ peer, detail: "the link was lost at once" }))
  })

  return PeerLinks.of({
    get: ({ address, peer }) =>
      Effect.map(
        Effect.acquireRelease(
          Effect.tap(Effect.interruptible(linkTo(peer, address)), (one) => Effect.sync(() => use(one))),
          (one) => Effect.sync(() => release(one))
        ),
        ({ link }) => link
      ),
    serve: (given) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          handler = given
        }),
        () =>
          Effect.sync(() => {
            if (handler === given) handler = undefined
          })
      ),
    count: () => held.size
  })
})

const unreachable = (peer: PeerId, cause: HelloRefused | SessionError): PeerUnreachable =>
  new PeerUnreachable({ peer, detail: cause.message, cause })
