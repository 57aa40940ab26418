/** Who may be asked and who is chosen, over a directory in memory: labels, splits, promises, failures, bounds. */
import { expect } from "bun:test"
import type { Attachment } from "@weft/entry/Links"
import type { Figures } from "@weft/entry/performance/PerformanceState"
import type { Wanted } from "@weft/entry/routing/Eligible"
import { policies } from "@weft/entry/routing/Policies"
import { Router, type RouterOptions } from "@weft/entry/routing/Router"
import * as TrustList from "@weft/entry/routing/TrustList"
import type { Labels } from "@weft/mesh/Labels"
import * as PeerDirectory from "@weft/mesh/PeerDirectory"
import type { PeerId } from "@weft/mesh/PeerId"
import type { PeerInfo } from "@weft/mesh/PeerInfo"
import { Effect, Either, FastCheck } from "effect"
import { peerId, peerInfo } from "../../mesh/peers.ts"
import { it } from "../../support/effect.ts"

const model = "tiny"
const wanted: Wanted = { model, excluded: new Set(), labels: {}, perSlotMax: 1 }

interface Peer {
  readonly labels?: Labels
  /** Who computes its stages, where it is the host of a split. */
  readonly stages?: ReadonlyArray<number>
  readonly inFlight?: number
  readonly rttMs?: number
}

const infoOf = (number: number, { labels, stages }: Peer): PeerInfo => {
  const info = peerInfo(peerId(number), [model])
  const split = stages?.map((peer, at) => ({ peer: peerId(peer), from: at, to: at + 1 }))
  const models = split === undefined ? info.models : info.models.map((one) => ({ ...one, stages: split }))
  return { ...info, models, ...(labels === undefined ? {} : { labels }) }
}

/** A router over these peers, by number. */
const routerOf = (peers: ReadonlyArray<Peer>, options: Partial<RouterOptions> = {}) => {
  const router = new Router({
    policy: policies["predicted-ttft"],
    trust: TrustList.empty,
    figuresOf: () => undefined,
    turn: 0,
    ...options
  })
  const directory = peers.reduce(
    (directory, peer, number) => Either.getOrThrow(PeerDirectory.register(directory, infoOf(number, peer), number, 0)),
    PeerDirectory.empty
  )
  const attachments = new Map<PeerId, Attachment>(
    peers.map(({ inFlight = 0, rttMs = 1 }, number) => [peerId(number), { inFlight, rttMs, lastElectedMs: 0 }])
  )
  const view = (nowMs: number) => ({ directory, attachments, nowMs })
  const prompt = router.readPrompt(model, "ann", { _tag: "Text", text: "hello" })
  const route = (changes: Partial<Wanted> = {}, nowMs = 0) =>
    router.choose(view(nowMs), { ...wanted, ...changes }, prompt)
  const by = (changes: Partial<Wanted> = {}, nowMs = 0) =>
    Either.match(route(changes, nowMs), {
      onLeft: (nobody) => nobody,
      onRight: ({ choice }) => peers.findIndex((_, number) => peerId(number) === choice.candidate.peer)
    })
  return { router, route, by, view }
}

it.effect("nobody is chosen for a stated reason", () =>
  Effect.sync(() => {
    expect(routerOf([{}]).by({ model: "other" })).toEqual({ reason: "UnknownModel" })
    expect(routerOf([{}]).by({ excluded: new Set([peerId(0)]) })).toEqual({ reason: "NoPeer" })
    expect(routerOf([{ inFlight: 2 }]).by()).toEqual({ reason: "AllBusy" })
    expect(routerOf([{ inFlight: 2 }]).by({ perSlotMax: 2 })).toBe(0)
    const { router, view } = routerOf([{}])
    expect(router.refusal(view(0), wanted)).toBeUndefined()
    expect(router.refusal({ ...view(0), attachments: new Map() }, wanted)).toEqual({ reason: "NoPeer" })
  })
)

it.effect("a region is asked for as it is written, and who has none is not asked", () =>
  Effect.sync(() => {
    const { by } = routerOf([{}, { labels: { region: "eu-west" }, rttMs: 900 }])
    expect(by({ labels: { region: "eu-west" } })).toBe(1)
    expect(by({ labels: { region: "us" } })).toEqual({ reason: "NoPeer", label: "region 'us'" })
    expect(by({ labels: { region: "eu-west" }, excluded: new Set([peerId(1)]) })).toEqual({
      reason: "NoPeer",
      label: "region 'eu-west'"
    })
    expect(by()).toBe(0)
  })
)

it.effect("a label of trust counts for those alone whom the entry vouches for", () =>
  Effect.sync(() => {
    const peers = [{ labels: { trust: "staff" } }, { labels: { trust: "staff", region: "eu" } }, {}]
    const none = { reason: "NoPeer", label: "trust 'staff'" } as const
    expect(routerOf(peers).by({ labels: { trust: "staff" } })).toEqual(none)
    const trust = Either.getOrThrow(TrustList.parseList(`staff=${peerId(1)}, staff=${peerId(2)},other=${peerId(0)}`))
    const { by } = routerOf(peers, { trust })
    expect(by({ labels: { trust: "staff" } })).toBe(1)
    expect(by({ labels: { trust: "staff" }, excluded: new Set([peerId(1)]) })).toEqual(none)
    expect(by({ labels: { trust: "staff", region: "us" } })).toEqual({ reason: "NoPeer", label: "region 'us'" })
    expect(routerOf(peers).by({ labels: { region: "eu" } })).toBe(1)
  })
)

it.effect("a prompt goes through a split only where the peer of every stage carries the labels", () =>
  Effect.sync(() => {
    const trust = new Map([0, 1].map((number) => [peerId(number), new Set(["staff"])]))
    const staff = { trust: "staff" }
    const stages = [0, 1]
    const both = routerOf(
      [
        { labels: staff, stages },
        { labels: staff, stages: [1, 0] }
      ],
      { trust }
    )
    expect(both.by({ labels: staff })).toBe(0)
    const strangers = [
      { labels: staff, stages: [0, 9] },
      { labels: staff, stages: [1, 9] }
    ]
    expect(routerOf(strangers, { trust }).by({ labels: staff })).toEqual({ reason: "NoPeer", label: "trust 'staff'" })
  })
)

it.effect("a list of trust that is none is refused with its place", () =>
  Effect.sync(() => {
    expect(TrustList.parseList("")).toEqual(Either.right(new Map()))
    for (const list of ["staff", `Staff=${peerId(1)}`, "staff=me", `staff=${peerId(1)}=x`, `a=${peerId(1)},b`]) {
      const error = Either.getOrThrow(Either.flip(TrustList.parseList(list)))
      expect([list, error.message]).toEqual([list, expect.stringMatching(/^entry [12]: .* Write label=PEERID/)])
    }
  })
)

it.effect("whole models come before splits, however busy, far and slow, and whatever is promised", () =>
  Effect.sync(() => {
    const peers = [{ inFlight: 1, rttMs: 900 }, { stages: [1, 0] }]
    const { by } = routerOf(peers, { figuresOf: ({ mode }) => figures(mode === "split" ? 1 : 9_000) })
    expect(by()).toBe(0)
    expect(by({ meetsSla: ({ ttftMs }) => ttftMs.p50 < 3_000 })).toBe(0)
    expect(by({ excluded: new Set([peerId(0)]) })).toBe(1)
    expect(routerOf([{ inFlight: 2 }, { stages: [1, 0] }]).by()).toEqual({ reason: "AllBusy" })
  })
)

const figures = (p50: number): Figures => ({ samples: 9, ttftMs: { p50, p95: p50 }, tokensPerSecond: undefined })

it.effect("those that keep what is promised come first, the unmeasured among them; where none does, all come", () =>
  Effect.sync(() => {
    const ttft = new Map([
      [peerId(0), 9_000],
      [peerId(1), 100]
    ])
    const figuresOf: RouterOptions["figuresOf"] = ({ peer }) => {
      const p50 = ttft.get(peer)
      return p50 === undefined ? undefined : figures(p50)
    }
    const { by } = routerOf([{}, { inFlight: 1, rttMs: 60 }], { figuresOf })
    const meetsSla = ({ ttftMs }: Figures) => ttftMs.p50 < 3_000
    // One peer is read anew in a millisecond, and an unread one is unmeasured.
    expect([by({ meetsSla }, 1), by({ meetsSla }, 2), by({ meetsSla }, 3)].at(-1)).toBe(1)
    expect(by({ meetsSla: () => false }, 4)).toBe(0)
    const others = routerOf([{}, {}, { inFlight: 1 }], { figuresOf })
    const excluded = new Set([peerId(1)])
    expect([1, 2, 3, 4].map((now) => others.by({ meetsSla, excluded }, now)).at(-1)).toBe(2)
  })
)

it.effect(
  "a peer that fails three answers gets none for a second, then one; where all have failed, somebody is asked",
  () =>
    Effect.sync(() => {
      const { by, route, router } = routerOf([{}, { inFlight: 1, rttMs: 80 }])
      const failAt = (nowMs: number) =>
        router
          .sent(Either.getOrThrow(route({ excluded: new Set([peerId(1)]) }, nowMs)), false, nowMs)
          .ended("failed", nowMs)
      for (let answer = 0; answer < 3; answer++) failAt(answer)
      expect([by({}, 3), router.openBreakers(3), by({}, 1_001), by({}, 1_003)]).toEqual([1, 1, 1, 0])
      expect(by({ excluded: new Set([peerId(1)]) }, 3)).toBe(0)
      const trial = router.sent(Either.getOrThrow(route({}, 1_003)), false, 1_003)
      expect(by({}, 1_004)).toBe(1)
      trial.begun(1_010)
      trial.ended("whole", 1_020)
      expect([by({}, 1_021), router.openBreakers(1_021)]).toEqual([0, 0])
    })
)

it.effect("answers that take far longer than ever count as failures, also those whose client did not wait", () =>
  Effect.sync(() => {
    for (const patience of ["waits", "leaves"]) {
      const { route, router } = routerOf([{}])
      const send = (nowMs: number) => router.sent(Either.getOrThrow(route({}, nowMs)), false, nowMs)
      send(0).begun(100)
      const slow = [send(1_000), send(1_000), send(1_000)]
      for (const errand of slow) {
        expect(router.openBreakers(16_000)).toBe(0)
        if (patience === "waits") errand.begun(16_000)
        else errand.ended("none", 16_000)
      }
      expect(router.openBreakers(16_000)).toBe(1)
    }
  })
)

it.prop(
  "whatever is sent, begun and ended, nothing waits at a peer afterwards, and no pace is other than finite",
  FastCheck.array(
    FastCheck.record({
      kind: FastCheck.constantFrom(
        "send" as const,
        "begin" as const,
        "whole" as const,
        "failed" as const,
        "none" as const
      ),
      nth: FastCheck.nat(9),
      afterMs: FastCheck.integer({ min: -50, max: 20_000 })
    }),
    { maxLength: 60 }
  ),
  (steps) =>
    Effect.sync(() => {
      const { route, router } = routerOf([{}, {}, {}])
      const errands: Array<ReturnType<Router["sent"]>> = []
      let nowMs = 0
      for (const { afterMs, kind, nth } of steps) {
        nowMs += afterMs
        const errand = errands[nth % Math.max(1, errands.length)]
        if (kind === "send") errands.push(router.sent(Either.getOrThrow(route({}, nowMs)), nth === 0, nowMs))
        else if (kind === "begin") errand?.begun(nowMs)
        else errand?.ended(kind, nowMs)
      }
      for (const errand of errands) errand.ended("none", nowMs)
      for (const peer of [0, 1, 2]) {
        const excluded = new Set([0, 1, 2].filter((other) => other !== peer).map(peerId))
        const { candidate } = Either.getOrThrow(route({ excluded }, nowMs)).choice
        expect([candidate.aheadTokens, candidate.waitsSinceMs]).toEqual([0, undefined])
        expect(Number.isFinite(candidate.pace.fixedMs + (candidate.pace.msPerToken ?? 0))).toBe(true)
      }
    })
)
