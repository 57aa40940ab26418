/** A lease of a stage as its host and strangers see it over QUIC: what it says, whose frames it takes, how it ends. */
import { describe, expect } from "bun:test"
import type * as ModelFile from "@weft/engine/ModelFile"
import { StageReply, StageRequest } from "@weft/engine/pipeline/PipelineProtocol"
import * as StageEdge from "@weft/engine/pipeline/StageEdge"
import * as StageFrame from "@weft/engine/pipeline/StageFrame"
import * as StagePermit from "@weft/engine/pipeline/StagePermit"
import * as Frames from "@weft/mesh/Frames"
import * as Link from "@weft/mesh/Link"
import { Clock, Effect, Mailbox, Option } from "effect"
import { it } from "../../support/effect.ts"
import { greedy } from "../asking.ts"
import { type Peer, permit, prepare, startPeer, until } from "./peering.ts"
import { contextTokens } from "./staging.ts"

const group = "cd".repeat(16)
const encode = Frames.encode(StageRequest)

type Reserve = Extract<StageRequest, { readonly _tag: "Reserve" }>

/** A reservation that the host would have from its entry, but for the permit. */
const reserveOf = (file: ModelFile.ModelFile, host: Peer): Omit<Reserve, "permit"> => ({
  _tag: "Reserve",
  group,
  epoch: 1,
  model: { id: "m", sha256: file.sha256 },
  layers: 6,
  from: 4,
  to: 6,
  contextTokens,
  slots: 2,
  host: host.place.peer,
  previous: host.place.peer,
  next: null
})

/** Returns a reservation with a permit of the host itself, which the lender takes for its entry. */
const permitted = (request: Omit<Reserve, "permit">, host: Peer, lender: Peer) =>
  Effect.map(permit(host, { ...request, host: host.place.peer }, [lender]), ([permit]): Reserve => {
    if (permit === undefined) throw new Error("no permit")
    lender.trust(host.identity.id)
    return { ...request, permit }
  })

/** Opens a lease by hand; edges to the host are taken and what comes over them is counted. */
const lease = (host: Peer, lender: Peer, request: StageRequest) =>
  Effect.gen(function* () {
    const link = yield* host.links.get(lender.place)
    const edges: Array<number> = []
    yield* host.links.serve(({ stream }) => {
      StageEdge.accept(stream, (edge) => {
        edges.push(edge.edge.epoch)
        edge.attach({ frameBytesMax: StageEdge.answerBytesMax, take: () => true, lost: () => {} })
      })
      return undefined
    })
    const stream = yield* Link.open(link, "stage")
    yield* stream.write(encode(request))
    const frames = Frames.reader(stream)
    const replies = yield* Mailbox.make<StageReply>()
    const listen = Effect.gen(function* () {
      while (true) {
        const reply = yield* frames.read(StageReply)
        if (Option.isNone(reply)) return yield* replies.end
        // What it says while it takes long, which a busy machine may.
        if (reply.value._tag !== "Loading" && reply.value._tag !== "Working") yield* replies.offer(reply.value)
      }
    })
    yield* Effect.forkScoped(Effect.catchAll(listen, () => replies.end))
    const say = (next: StageRequest) => stream.write(encode(next))
    return { next: Effect.option(replies.take), say, edges, link }
  })

const reply = (value: Record<string, unknown>) => Option.some(expect.objectContaining(value))

/** Opens an edge to the stage and tells how it was lost. */
const edge = (from: Peer, to: Peer, epoch: number) =>
  Effect.map(from.links.get(to.place), (link) => {
    const lost: Array<string> = []
    const out = StageEdge.open(
      link,
      { _tag: "Edge", group, epoch, to: "next" },
      {
        opened: () => {},
        lost: (reason) => void lost.push(reason)
      }
    )
    return { ...out, send: (frame: Uint8Array) => out.send(frame), lost }
  })

const open = (epoch: number, job = 0) =>
  StageFrame.encode({ kind: "open", epoch, job, terms: { seed: 1, sampling: greedy, promptTokens: 4, contextTokens } })

const jobs = (lender: Peer) => lender.lender.status()[0]?.jobs

describe("a lease", () => {
  it.live(
    "is ready with its edges, takes frames of the stage before alone, and parts with one that sends what may not come",
    () =>
      Effect.gen(function* () {
        const file = yield* prepare
        const [host, lender, stranger] = yield* Effect.all([startPeer(file), startPeer(file), startPeer(file)])
        const { edges, next, say } = yield* lease(host, lender, yield* permitted(reserveOf(file, host), host, lender))
        expect(yield* next).toEqual(
          reply({ _tag: "Ready", epoch: 1, width: file.header.embeddingLength, msPerLayer: null })
        )
        yield* until(() => edges.includes(1))
        const foreign = yield* edge(stranger, lender, 1)
        foreign.send(open(1, 7))
        const own = yield* edge(host, lender, 1)
        own.send(open(1))
        yield* until(() => jobs(lender) === 1)
        // Of an epoch that is to come.
        own.send(open(2))
        expect(yield* next).toEqual(reply({ _tag: "Parted", epoch: 1, peer: host.place.peer }))
        yield* until(() => own.lost.length === 1)
        yield* say({ _tag: "Rewire", epoch: 2, previous: host.place.peer, next: null })
        expect(yield* next).toEqual(reply({ _tag: "Ready", epoch: 2 }))
        const large = yield* edge(host, lender, 2)
        large.send(new Uint8Array(StageEdge.frameBytesMax(file.header.embeddingLength) + 1))
        expect(yield* next).toEqual(reply({ _tag: "Parted", epoch: 2, peer: host.place.peer }))
        // An edge of an epoch that is over has no lease any more, and one of the next waits until that is known.
        const early = yield* edge(host, lender, 3)
        early.send(open(3))
        early.send(open(3, 1))
        yield* say({ _tag: "Rewire", epoch: 3, previous: host.place.peer, next: null })
        expect(yield* next).toEqual(reply({ _tag: "Ready", epoch: 3 }))
        yield* until(() => jobs(lender) === 2)
        expect(edges).toEqual([1, 2, 3])
        expect(foreign.lost).toEqual([])
      }),
    60_000
  )

  it.live(
    "parts with a next stage that cannot be reached and stays loaded, and is lost with its process",
    () =>
      Effect.gen(function* () {
        const file = yield* prepare
        const [host, lender, third] = yield* Effect.all([startPeer(file), startPeer(file), startPeer(file)])
        const nowhere = { peer: third.place.peer, address: "127.0.0.1:9" }
        const reserve = { ...reserveOf(file, host), from: 2, to: 4, next: nowhere }
        const { next, say } = yield* lease(host, lender, yield* permitted(reserve, host, lender))
        expect(yield* next).toEqual(reply({ _tag: "Parted", epoch: 1, peer: third.place.peer }))
        expect(lender.lender.status()[0]?.state).toBe("ready")
        yield* say({ _tag: "Rewire", epoch: 4, previous: host.place.peer, next: third.place })
        expect(yield* next).toEqual(reply({ _tag: "Ready", epoch: 4 }))
        yield* third.vanish
        expect(yield* next).toEqual(reply({ _tag: "Parted", epoch: 4, peer: third.place.peer }))
        process.kill(lender.lender.status()[0]?.processId ?? 0, "SIGKILL")
        expect(yield* next).toEqual(reply({ _tag: "Lost", reason: expect.stringContaining("SIGKILL") }))
        expect(yield* next).toEqual(Option.none())
        expect(lender.lender.status()).toEqual([])
      }),
    60_000
  )

  it.live(
    "ends without a word for a host that breaks the rules, and is refused beyond the memory of all of them",
    () =>
      Effect.gen(function* () {
        const file = yield* prepare
        const [host, lender] = yield* Effect.all([startPeer(file), startPeer(file, { memoryBytes: 5e6 })])
        const reserve = yield* permitted(reserveOf(file, host), host, lender)
        const rewire: StageRequest = { _tag: "Rewire", epoch: 1, previous: host.place.peer, next: null }
        for (const first of [{ ...reserve, host: lender.place.peer }, rewire])
          expect(yield* (yield* lease(host, lender, first)).next).toEqual(Option.none())
        for (const second of [reserve, rewire]) {
          const { next, say } = yield* lease(host, lender, reserve)
          expect(yield* next).toEqual(reply({ _tag: "Ready" }))
          yield* say(second)
          expect(yield* next).toEqual(Option.none())
        }
        yield* until(() => lender.lender.status().length === 0)
        const held = yield* lease(host, lender, reserve)
        expect(yield* held.next).toEqual(reply({ _tag: "Ready" }))
        const other = yield* permitted({ ...reserve, group: "ef".repeat(16) }, host, lender)
        const beside = yield* lease(host, lender, other)
        expect(yield* beside.next).toEqual(reply({ _tag: "Refused", reason: expect.stringContaining("MiB") }))
      }),
    60_000
  )

  it.live(
    "is refused without the permit of the lender's entry for this very group, host, peer and time",
    () =>
      Effect.gen(function* () {
        const file = yield* prepare
        const [entry, host, lender, other] = yield* Effect.all([
          startPeer(file),
          startPeer(file),
          startPeer(file),
          startPeer(file)
        ])
        const bare = reserveOf(file, host)
        const of = { group, host: host.place.peer, model: bare.model }
        const signed = (by: Peer, permitted: typeof of, peer: Peer, atMs: number): Reserve => ({
          ...bare,
          permit: StagePermit.sign(by.identity, { ...permitted, peer: peer.place.peer }, 8, atMs)
        })
        const now = yield* Clock.currentTimeMillis
        const good = signed(entry, of, lender, now)
        const refused = (request: Reserve, reason: string) =>
          Effect.gen(function* () {
            const { next } = yield* lease(host, lender, request)
            expect(yield* next).toEqual(reply({ _tag: "Refused", reason: expect.stringContaining(reason) }))
          })
        yield* refused(good, "not permitted")
        lender.trust(entry.identity.id)
        yield* refused(signed(host, of, lender, now), "not permitted")
        yield* refused(signed(entry, of, other, now), "not permitted")
        yield* refused(signed(entry, { ...of, group: "ef".repeat(16) }, lender, now), "not permitted")
        yield* refused(signed(entry, { ...of, host: other.place.peer }, lender, now), "not permitted")
        yield* refused(signed(entry, of, lender, now - StagePermit.validityMs - 60_000), "not permitted any more")
        // Nor is it good for one stage after the other: a second may begin while the first one ends.
        for (const _ of [1, 2]) {
          const { next } = yield* lease(host, lender, good)
          expect(yield* next).toEqual(reply({ _tag: "Ready" }))
        }
        yield* refused(good, "enough")
      }),
    60_000
  )
})
