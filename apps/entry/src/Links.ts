/** The live links to peers, and what this entry gave each of them to do: the router's second input. */
import type { Link } from "@weft/mesh/Link"
import type { PeerId } from "@weft/mesh/PeerId"
import { Context, Effect, Layer, type Scope } from "effect"

interface Held {
  readonly link: Link
  inFlight: number
  lastElectedMs: number
  rttMs: number | undefined
}

/** Represents what the entry itself knows of a peer. */
export interface Attachment {
  /** Answers of this entry that the peer gives now. */
  readonly inFlight: number
  /** Smoothed round trip to it in milliseconds; absent while not measured. */
  readonly rttMs: number | undefined
  /** When it was last given a request, milliseconds since 1970; 0 for never. */
  readonly lastElectedMs: number
}

/** Represents where a linked peer is. */
export interface PeerReach {
  /** `HOST:PORT` that its session comes from; its endpoint listens there too. */
  readonly address: string
  /** Smoothed round trip in milliseconds; absent while not measured. */
  readonly rttMs: number | undefined
}

/** Represents an answer's place at a peer; it counts on the link it was taken on, whatever became of that. */
export interface Seat {
  readonly link: Link
  /** When it was taken, milliseconds since 1970. */
  readonly sinceMs: number
  /** Frees it. */
  readonly leave: () => void
}

/** Holds the newest link of each peer. */
export class Links extends Context.Tag("@weft/entry/Links")<
  Links,
  {
    /** Keeps `link` until the scope closes; returns the link of the same peer that it replaces, still open. */
    readonly hold: (link: Link) => Effect.Effect<Link | undefined, never, Scope.Scope>
    /** Counts one more answer at `peer`, until `leave` of what it returns is called; undefined without a link to it. */
    readonly enter: (peer: PeerId, nowMs: number) => Seat | undefined
    /** Returns the link to a peer, undefined where there is none. */
    readonly link: (peer: PeerId) => Link | undefined
    /** Returns where each linked peer is, as this entry sees it. */
    readonly reaches: () => ReadonlyMap<PeerId, PeerReach>
    readonly attachments: () => ReadonlyMap<PeerId, Attachment>
    /** Notes the measured round trip of every link; called by the listener's sweep. */
    readonly measure: Effect.Effect<void>
  }
>() {
  static readonly layer = Layer.sync(Links, () => make())
}

// internal

const make = (): typeof Links.Service => {
  const held = new Map<PeerId, Held>()
  return {
    hold: Effect.fnUntraced(function* (link) {
      const { rttMs } = yield* link.session.stats
      const entry: Held = { link, inFlight: 0, lastElectedMs: 0, rttMs }
      return yield* Effect.acquireRelease(
        Effect.sync(() => {
          const replaced = held.get(link.peer)?.link
          held.set(link.peer, entry)
          return replaced
        }),
        () => Effect.sync(() => held.get(link.peer) === entry && held.delete(link.peer))
      )
    }),
    enter: (peer, nowMs) => {
      const entry = held.get(peer)
      if (entry === undefined) return undefined
      entry.lastElectedMs = nowMs
      entry.inFlight++
      return { link: entry.link, sinceMs: nowMs, leave: () => void entry.inFlight-- }
    },
    link: (peer) => held.get(peer)?.link,
    reaches: () =>
      new Map([...held].map(([peer, { link, rttMs }]) => [peer, { address: link.session.remoteAddress, rttMs }])),
    attachments: () => held,
    measure: Effect.suspend(() =>
      Effect.forEach(
        held.values(),
        (entry) => Effect.map(entry.link.session.stats, (stats) => (entry.rttMs = stats.rttMs)),
        { discard: true }
      )
    )
  }
}
