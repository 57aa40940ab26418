/** An entry over a directory and links in memory, whose peers come and go by number: for tests of its slots. */
import { expect } from "bun:test"
import { EntryConfig } from "@weft/entry/EntryConfig"
import type { NoAnswer } from "@weft/entry/Inference"
import { Links } from "@weft/entry/Links"
import { Performance } from "@weft/entry/performance/Performance"
import { type SlotRequest, type SlotSeat, Slots } from "@weft/entry/Slots"
import type { Labels } from "@weft/mesh/Labels"
import type { Link } from "@weft/mesh/Link"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import type { PeerId } from "@weft/mesh/PeerId"
import type { PeerInfo } from "@weft/mesh/PeerInfo"
import { Effect, Either, Exit, Layer, Scope } from "effect"
import { linked } from "../mesh/links.ts"
import { peerId, peerInfo } from "../mesh/peers.ts"

/** The model that every peer here has. */
export const model = "tiny"
/** Lets everything run that can. */
export const settled = Effect.repeatN(Effect.yieldNow(), 200)

/** An entry whose peers come and go by number. */
const open = Effect.fnUntraced(function* (session: Link["session"]) {
  const { ref, unsafeSnapshot } = yield* PeerDirectoryActor
  const links = yield* Links
  const slots = yield* Slots
  const newest = new Map<PeerId, Link>()
  const register = (info: PeerInfo, link: number) => ref.Register({ info, link })
  let number = 0

  /** A peer of so many slots comes; returns how it goes. */
  const come = Effect.fnUntraced(function* (peer: number, slotCount = 1, labels: Labels = {}) {
    const link: Link = { peer: peerId(peer), role: "peer", number: ++number, session }
    const scope = yield* Scope.make()
    yield* Scope.extend(links.hold(link), scope)
    newest.set(link.peer, link)
    yield* register({ ...peerInfo(link.peer, [model], slotCount), labels }, link.number)
    yield* slots.serveQueues
    return Effect.gen(function* () {
      yield* ref.Leave({ peer: link.peer, link: link.number })
      yield* slots.serveQueues
      yield* Scope.close(scope, Exit.void)
    })
  })

  /** Somebody wants a slot; whoever leaves gives back what was given, or waits no more. */
  const want = (caller = "a", changes: Partial<SlotRequest> = {}) =>
    Effect.sync(() => {
      const prompt = slots.readPrompt(model, caller, { _tag: "Text", text: "hello" })
      const asked = { model, caller, prompt, labels: {}, excluded: new Set<PeerId>(), hasBegun: false }
      const request: SlotRequest = { ...asked, ...changes }
      let told: Either.Either<SlotSeat, NoAnswer> | "waits" | "left" = "waits"
      const giveUp = slots.take(request, (seat) => {
        expect(told).toBe("waits")
        told = seat
      })
      const outcome = () => (typeof told === "string" ? told : Either.isRight(told) ? told.right.link : "refused")
      const refusal = () => (typeof told !== "string" && Either.isLeft(told) ? told.left : undefined)
      const leave = Effect.sync(() => {
        if (told === "waits") {
          told = "left"
          giveUp?.()
        } else if (typeof told !== "string" && Either.isRight(told)) told.right.leave("whole")
      })
      return { request, refusal, outcome, leave }
    })
  const inFlight = () => [...links.attachments().values()].map((held) => held.inFlight)
  return { come, want, inFlight, newest, links, register, slots, unsafeSnapshot }
})
/** Represents an entry under test. */
export type Entry = Effect.Effect.Success<ReturnType<typeof open>>
/** Represents somebody who wants a slot. */
export type Wanted = Effect.Effect.Success<ReturnType<Entry["want"]>>

/** Runs `body` in an entry without peers. */
export const entry = <A, E>(body: (entry: Entry) => Effect.Effect<A, E, Scope.Scope>) =>
  linked(({ far }) => Effect.flatMap(open(far.session), body)).pipe(
    Effect.provide(
      Slots.layer.pipe(
        Layer.provideMerge(Links.layer),
        Layer.provide(Performance.layer),
        Layer.provide(EntryConfig.layer({})),
        Layer.provideMerge(PeerDirectoryActor.layer())
      )
    )
  )

/** Returns where somebody is who wanted a slot. */
export const nameOf = ({ outcome }: Wanted) => {
  const now = outcome()
  return typeof now === "string" ? now : now.peer === peerId(1) ? "at 1" : "at 2"
}
/** Returns where all of them are, once everything that can run has run. */
export const outcomes = (all: ReadonlyArray<Wanted>) => Effect.map(settled, () => all.map(nameOf))
