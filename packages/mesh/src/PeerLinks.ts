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

/** What runs apart from the callers; closed with the service. */
interface Fibers {
  /** The lives of links, from the dial or the accepted session on. */
  readonly live: (life: Effect.Effect<void, never, Transport | Identity>) => void
  readonly watch: (watching: Effect.Effect<void>) => void
  /** One for each link, by its number; a new one takes the place of the old one. */
  readonly expire: (link: number, expiry: Effect.Effect<void>) => void
}

const make = Effect.gen(function* () {
  const { id } = yield* Identity
  const transport = yield* Transport
  const expiries = yield* FiberMap.make<number>()
  const [live, watch] = [yield* FiberSet.makeRuntime<Transport | Identity>(), yield* FiberSet.makeRuntime<never>()]
  const expire = yield* FiberMap.runtime(expiries)<never>()
  // The layer is built uninterruptibly, and fibers inherit that.
  const links = new Holding(id, transport.scheme, {
    live: (life) => void live(Effect.interruptible(life)),
    watch: (watching) => void watch(Effect.interruptible(watching)),
    expire: (link, expiry) => void expire(link, Effect.interruptible(expiry))
  })
  const accepting = Effect.flatMap(transport.accept, (session) => links.accept(session))
  yield* Effect.forkScoped(Effect.interruptible(Effect.forever(accepting)))
  return PeerLinks.of({
    get: (place) => links.get(place),
    serve: (handler) =>
      Effect.acquireRelease(
        Effect.sync(() => links.handle(handler)),
        () => Effect.sync(() => links.handle(undefined))
      ),
    count: () => links.count()
  })
})

/** The links that are up and those that are being made. */
class Holding {
  readonly #self: PeerId
  readonly #scheme: string
  readonly #fibers: Fibers
  readonly #held = new Map<number, HeldLink>()
  readonly #dialling = new Map<PeerId, Made>()
  #handler: StreamHandler | undefined
  #unproven = 0
  #turn = 0

  constructor(self: PeerId, scheme: string, fibers: Fibers) {
    this.#self = self
    this.#scheme = scheme
    this.#fibers = fibers
  }

  count(): number {
    return this.#held.size
  }

  handle(handler: StreamHandler | undefined): void {
    this.#handler = handler
  }

  get({ address, peer }: { readonly peer: PeerId; readonly address: string }) {
    const found = Effect.tap(Effect.interruptible(this.#find(peer, address)), (one) =>
      Effect.sync(() => this.#use(one))
    )
    return Effect.map(
      Effect.acquireRelease(found, (one) => Effect.sync(() => this.#release(one))),
      ({ link }) => link
    )
  }

  /** Lets the other side of a session prove itself, and holds the link then. */
  accept(session: Session): Effect.Effect<void> {
    if (this.#unproven >= unprovenMax) return session.close(CloseCode.refused, "too many hellos at once")
    this.#unproven++
    const welcome = Link.accept(session, { role: "peer", accepts: "peer" }).pipe(
      Effect.ensuring(Effect.sync(() => this.#unproven--)),
      Effect.flatMap((link) => this.#live(link)),
      Effect.scoped,
      Effect.catchTag("HelloRefused", (refused) => Effect.logDebug(`${session.remoteAddress}: ${refused.message}`)),
      Effect.annotateLogs({ module: "PeerLinks" })
    )
    return Effect.sync(() => this.#fibers.live(welcome))
  }

  #find(peer: PeerId, address: string): Effect.Effect<HeldLink, PeerUnreachable> {
    return Effect.gen(this, function* () {
      if (peer === this.#self) return yield* new PeerUnreachable({ peer, detail: "it is this peer" })
      const known = preferred(this.#self, [...this.#held.values()], peer)
      if (known !== undefined) return known
      const before = this.#dialling.get(peer)
      const made: Made = before ?? (yield* Deferred.make<Link.Link, PeerUnreachable>())
      if (before === undefined) {
        this.#dialling.set(peer, made)
        this.#fibers.live(this.#dial(peer, address, made))
      }
      const { number } = yield* Deferred.await(made)
      // By now the other side may have dialled too.
      const one = preferred(this.#self, [...this.#held.values()], peer) ?? this.#held.get(number)
      return one ?? (yield* new PeerUnreachable({ peer, detail: "the link was lost at once" }))
    })
  }

  #dial(peer: PeerId, address: string, made: Made) {
    const full = address.includes("://") ? address : `${this.#scheme}://${address}`
    const fail = (error: PeerUnreachable) =>
      Effect.suspend(() => {
        this.#settle(peer, made)
        return Deferred.fail(made, error)
      })
    return Link.dial(full, { role: "peer", expected: peer }).pipe(
      Effect.mapError((cause) => unreachable(peer, cause)),
      Effect.tapError(fail),
      Effect.flatMap((link) => this.#live(link, made)),
      Effect.scoped,
      Effect.ignore,
      Effect.ensuring(fail(new PeerUnreachable({ peer, detail: "this peer stops" })))
    )
  }

  #settle(peer: PeerId, made: Made): void {
    if (this.#dialling.get(peer) === made) this.#dialling.delete(peer)
  }

  /** Serves a link that is up, to its end. */
  #live(link: Link.Link, made?: Made) {
    return Effect.gen(this, function* () {
      yield* Effect.addFinalizer(() => link.session.close(CloseCode.released, "leaving"))
      if (!(yield* this.#makeRoom(link.peer))) {
        if (made !== undefined)
          yield* Deferred.fail(made, new PeerUnreachable({ peer: link.peer, detail: "this peer has too many links" }))
        return yield* link.session.close(CloseCode.refused, "too many links")
      }
      const one: HeldLink = { link, uses: 0, unusedSince: ++this.#turn }
      yield* Effect.acquireRelease(
        Effect.sync(() => this.#held.set(link.number, one)),
        () => Effect.sync(() => this.#forget(one))
      )
      this.#expireLater(one)
      if (made !== undefined) {
        this.#settle(link.peer, made)
        yield* Deferred.succeed(made, link)
      }
      yield* Link.serve(link, (incoming) => this.#take(incoming, one))
    })
  }

  #take(incoming: Link.Incoming, one: HeldLink): ReturnType<StreamHandler> {
    const { stream } = incoming
    const handled = this.#handler?.(incoming, one.link)
    if (this.#handler === undefined) stream.unsafeReset(Link.ResetCode.unknownKind)
    this.#use(one)
    const release = Effect.sync(() => this.#release(one))
    this.#fibers.watch(Effect.ensuring(Effect.ignore(stream.closed), release))
    return handled
  }

  /** Makes room for a link to `peer` by closing one that nobody uses; false where all are used. */
  #makeRoom(peer: PeerId): Effect.Effect<boolean> {
    const all = [...this.#held.values()]
    const ofPeer = all.filter(({ link }) => link.peer === peer)
    if (all.length < linksMax && ofPeer.length < linksOfPeerMax) return Effect.succeed(true)
    const unused = idle(ofPeer.length < linksOfPeerMax ? all : ofPeer)
    if (unused === undefined) return Effect.succeed(false)
    this.#forget(unused)
    return Effect.as(unused.link.session.close(CloseCode.refused, "too many links"), true)
  }

  #use(one: HeldLink): void {
    one.uses++
    this.#fibers.expire(one.link.number, Effect.void)
  }

  #release(one: HeldLink): void {
    one.uses--
    one.unusedSince = ++this.#turn
    if (one.uses === 0 && this.#held.has(one.link.number)) this.#expireLater(one)
  }

  #expireLater({ link: { number, session } }: HeldLink): void {
    // Who dialled may hold it without a stream; the other side closes it when it needs the room.
    if (session.direction === "accepted") return
    this.#fibers.expire(number, Effect.delay(session.close(CloseCode.released, "nobody used the link"), idleLife))
  }

  #forget({ link: { number } }: HeldLink): void {
    this.#held.delete(number)
    this.#fibers.expire(number, Effect.void)
  }
}

const unreachable = (peer: PeerId, cause: HelloRefused | SessionError): PeerUnreachable =>
  new PeerUnreachable({ peer, detail: cause.message, cause })
