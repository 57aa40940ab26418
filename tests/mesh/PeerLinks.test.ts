/** Links between peers: one for two, dialled once, whoever began; closed for want of use and never under a stream. */
import { expect } from "bun:test"
import type { Identity } from "@weft/mesh/Identity"
import * as Link from "@weft/mesh/Link"
import { MemoryNetwork } from "@weft/mesh/MemoryNetwork"
import type { PeerId } from "@weft/mesh/PeerId"
import { PeerLinks, unprovenMax } from "@weft/mesh/PeerLinks"
import type { Transport } from "@weft/mesh/Transport"
import { Context, Effect, Either, Fiber, Layer, Mailbox, Option, TestClock } from "effect"
import { it } from "../support/effect.ts"
import { as, type Endpoint, endpoint } from "./links.ts"

interface Peer {
  readonly endpoint: Endpoint
  readonly id: PeerId
  readonly address: string
  readonly links: PeerLinks["Type"]
  /** Streams that others opened. */
  readonly incoming: Mailbox.ReadonlyMailbox<readonly [Link.Incoming, Link.Link]>
}

/** Starts a peer whose streams wait in a mailbox; nobody reads them. */
const peer = (name: string) =>
  Effect.gen(function* () {
    const one = yield* endpoint(name)
    const context = yield* as(one, Layer.build(PeerLinks.layer))
    const links = Context.get(context, PeerLinks)
    const incoming = yield* Mailbox.make<readonly [Link.Incoming, Link.Link]>()
    yield* links.serve((stream, link) => void incoming.unsafeOffer([stream, link]) as undefined)
    return { endpoint: one, id: one.identity.id, address: one.transport.address, links, incoming } satisfies Peer
  })

const place = ({ address, id }: Peer) => ({ peer: id, address })

const test = (name: string, body: Effect.Effect<void, unknown, MemoryNetwork | Transport | Identity | never>) =>
  // The peers bring what they need with them.
  it.effect(name, () => Effect.provide(body as Effect.Effect<void, unknown, MemoryNetwork>, MemoryNetwork.layer()))

test(
  "asked ten times at once, a peer dials once, and the other side uses the same session",
  Effect.scoped(
    Effect.gen(function* () {
      const [one, other] = yield* Effect.all([peer("one"), peer("other")])
      const found = yield* Effect.all(
        Array.from({ length: 10 }, () => one.links.get(place(other))),
        { concurrency: 10 }
      )
      expect(new Set(found.map(({ number }) => number)).size).toBe(1)
      const back = yield* other.links.get(place(one))
      expect(back.session.direction).toBe("accepted")
      expect([one.links.count(), other.links.count()]).toEqual([1, 1])
    })
  )
)

test(
  "streams are handed over with the link of who opened them, in both directions",
  Effect.scoped(
    Effect.gen(function* () {
      const [one, other] = yield* Effect.all([peer("one"), peer("other")])
      yield* Link.open(yield* one.links.get(place(other)), "edge")
      const [there, from] = yield* other.incoming.take
      expect([there.kind, from.peer]).toEqual(["edge", one.id])
      yield* Link.open(yield* other.links.get(place(one)), "stage")
      const [here, back] = yield* one.incoming.take
      expect([here.kind, back.peer]).toEqual(["stage", other.id])
      expect([one.links.count(), other.links.count()]).toEqual([1, 1])
    })
  )
)

test(
  "two that dial each other at once agree on the session of the lower id, and cut none of the streams",
  Effect.scoped(
    Effect.gen(function* () {
      const [one, other] = yield* Effect.all([peer("one"), peer("other")])
      yield* Effect.all([one.links.get(place(other)), other.links.get(place(one))], { concurrency: 2 })
      const streams = yield* Effect.all([
        Effect.flatMap(one.links.get(place(other)), (link) => Link.open(link, "edge")),
        Effect.flatMap(other.links.get(place(one)), (link) => Link.open(link, "edge"))
      ])
      const [[, there], [, here]] = yield* Effect.all([other.incoming.take, one.incoming.take])
      const lower = one.id < other.id ? "dialled" : "accepted"
      expect(here.session.direction).toBe(lower)
      expect(there.session.direction).not.toBe(lower)
      yield* TestClock.adjust("2 minutes")
      for (const stream of streams) yield* stream.write(Uint8Array.of(1))
      expect(one.links.count()).toBe(other.links.count())
    })
  )
)

test(
  "a link that nobody uses is closed after a minute, one that is held or carries a stream is not",
  Effect.scoped(
    Effect.gen(function* () {
      const [one, other] = yield* Effect.all([peer("one"), peer("other")])
      yield* Effect.scoped(one.links.get(place(other)))
      yield* TestClock.adjust("59 seconds")
      expect(one.links.count()).toBe(1)
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* one.links.get(place(other))
          yield* TestClock.adjust("2 minutes")
          expect(one.links.count()).toBe(1)
        })
      )
      const stream = yield* Effect.flatMap(one.links.get(place(other)), (link) => link.session.open).pipe(Effect.scoped)
      yield* TestClock.adjust("2 minutes")
      expect(other.links.count()).toBe(0)
      expect(Either.isLeft(yield* Effect.either(stream.write(Uint8Array.of(1))))).toBe(true)
    })
  )
)

test(
  "a peer with another id, one that is not there and oneself are out of reach",
  Effect.scoped(
    Effect.gen(function* () {
      const [one, other, third] = yield* Effect.all([peer("one"), peer("other"), peer("third")])
      const wrong = yield* Effect.flip(one.links.get({ peer: third.id, address: other.address }))
      expect([wrong._tag, wrong.peer]).toEqual(["PeerUnreachable", third.id])
      expect(wrong.message).toContain("Identity")
      yield* Effect.flip(one.links.get({ peer: third.id, address: "memory://nowhere" }))
      yield* Effect.flip(one.links.get(place(one)))
      expect(one.links.count()).toBe(0)
      expect((yield* one.links.get(place(third))).peer).toBe(third.id)
    })
  )
)

test(
  "who holds a place without a word is let go, and a peer with a hello comes in meanwhile",
  Effect.scoped(
    Effect.gen(function* () {
      const [one, other, silent] = yield* Effect.all([peer("one"), peer("other"), endpoint("silent")])
      for (let session = 0; session < unprovenMax; session++) yield* silent.transport.dial(one.address)
      const next = yield* silent.transport.dial(one.address)
      const refused = yield* next.closed
      expect(refused.message).toContain("hellos")
      const late = yield* Effect.fork(Effect.either(other.links.get(place(one))))
      yield* TestClock.adjust("6 seconds")
      yield* Fiber.join(late)
      yield* Link.open(yield* other.links.get(place(one)), "edge")
      const [, link] = yield* one.incoming.take
      expect(link.peer).toBe(other.id)
    })
  )
)

test(
  "a link that is lost is dialled anew at the next use",
  Effect.scoped(
    Effect.gen(function* () {
      const [one, other] = yield* Effect.all([peer("one"), peer("other")])
      const first = yield* one.links.get(place(other))
      yield* first.session.close(Link.CloseCode.leaving, "gone")
      const again = yield* Effect.repeat(Effect.option(one.links.get(place(other))), {
        until: (link) => Option.isSome(link) && link.value.number !== first.number
      })
      expect(Option.isSome(again)).toBe(true)
    })
  )
)
