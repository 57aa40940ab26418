/** Which peer gets a request: the order of preference case by case, fairness over generated loads. */
import { expect } from "bun:test"
import * as Directory from "@weft/mesh/PeerDirectory"
import type { PeerId } from "@weft/mesh/PeerId"
import { type Attachment, elect } from "@weft/mesh/SoloElection"
import { Effect, Either, FastCheck } from "effect"
import { it } from "../support/effect.ts"
import { peerId, peerInfo } from "./peers.ts"

const slots = 2
const directoryOf = (count: number): Directory.PeerDirectory =>
  Array.from({ length: count }, (_, i) => i).reduce(
    (directory, i) => Either.getOrThrow(Directory.register(directory, peerInfo(peerId(i), ["tiny"], slots), i, 0)),
    Directory.empty
  )
const idle: Attachment = { inFlight: 0, rttMs: 1, lastElectedMs: 0 }
const attached = (entries: ReadonlyArray<readonly [number, Partial<Attachment>]>): ReadonlyMap<PeerId, Attachment> =>
  new Map(entries.map(([i, attachment]) => [peerId(i), { ...idle, ...attachment }]))
const elected = (...args: Parameters<typeof elect>) => Either.getOrThrow(elect(...args))
const reason = (...args: Parameters<typeof elect>) => Either.getOrThrow(Either.flip(elect(...args))).reason

it.effect("the idlest peer is elected, then the nearest, then the one that waited longest", () =>
  Effect.sync(() => {
    const none = { excluded: new Set<PeerId>(), perSlotMax: 1 }
    const two = directoryOf(2)
    expect(
      elected(
        two,
        "tiny",
        attached([
          [0, { inFlight: 1 }],
          [1, { rttMs: 300 }]
        ]),
        none
      )
    ).toBe(peerId(1))
    expect(
      elected(
        two,
        "tiny",
        attached([
          [0, { rttMs: 180 }],
          [1, { rttMs: 20, lastElectedMs: 9 }]
        ]),
        none
      )
    ).toBe(peerId(1))
    expect(
      elected(
        two,
        "tiny",
        attached([
          [0, { rttMs: 1, lastElectedMs: 9 }],
          [1, { rttMs: 2 }]
        ]),
        none
      )
    ).toBe(peerId(1))
    expect(
      elected(
        two,
        "tiny",
        attached([
          [0, { rttMs: undefined }],
          [1, { rttMs: 900 }]
        ]),
        none
      )
    ).toBe(peerId(1))
  })
)

it.effect("nobody is elected for a stated reason", () =>
  Effect.sync(() => {
    const one = directoryOf(1)
    const all = { excluded: new Set<PeerId>(), perSlotMax: 1 }
    expect(reason(one, "other", attached([[0, {}]]), all)).toBe("UnknownModel")
    expect(reason(one, "tiny", attached([]), all)).toBe("NoPeer")
    expect(reason(one, "tiny", attached([[0, {}]]), { ...all, excluded: new Set([peerId(0)]) })).toBe("NoPeer")
    expect(reason(one, "tiny", attached([[0, { inFlight: slots }]]), all)).toBe("AllBusy")
    expect(elected(one, "tiny", attached([[0, { inFlight: slots }]]), { ...all, perSlotMax: 2 })).toBe(peerId(0))
    expect(elected(one, "tiny", attached([[0, { inFlight: slots - 1 }]]), all)).toBe(peerId(0))
  })
)

it.prop(
  "no peer with a smaller share of its slots in use is passed over, and requests spread evenly over equals",
  FastCheck.record({ peers: FastCheck.integer({ min: 1, max: 6 }), requests: FastCheck.integer({ min: 1, max: 12 }) }),
  ({ peers, requests }) =>
    Effect.sync(() => {
      const directory = directoryOf(peers)
      const state = new Map(attached(Array.from({ length: peers }, (_, i) => [i, {}] as const)))
      for (let now = 1; now <= Math.min(requests, peers * slots); now++) {
        const id = elected(directory, "tiny", state, { excluded: new Set(), perSlotMax: 1 })
        const inFlight = state.get(id)?.inFlight ?? 0
        expect(inFlight).toBe(Math.min(...[...state.values()].map((attachment) => attachment.inFlight)))
        state.set(id, { ...idle, inFlight: inFlight + 1, lastElectedMs: now })
      }
    })
)

it.effect("a peer that has the whole model is elected before the host of a split, however busy and far it is", () =>
  Effect.sync(() => {
    const split = peerInfo(peerId(1), ["tiny"], slots)
    const stages = [0, 1].map((i) => ({ peer: peerId(i + 1), from: i, to: i + 1 }))
    const models = split.models.map((model) => ({ ...model, stages }))
    const directory = Either.getOrThrow(Directory.register(directoryOf(1), { ...split, models }, 9, 0))
    const links = attached([
      [0, { inFlight: 1, rttMs: 900 }],
      [1, {}]
    ])
    expect(elected(directory, "tiny", links, { excluded: new Set(), perSlotMax: 1 })).toBe(peerId(0))
    expect(elected(directory, "tiny", links, { excluded: new Set([peerId(0)]), perSlotMax: 1 })).toBe(peerId(1))
    // Who wants no split waits for the whole, and is told where there is none.
    const whole = { perSlotMax: 1, suits: (served: { readonly stages?: unknown }) => served.stages === undefined }
    const busy = attached([
      [0, { inFlight: slots }],
      [1, {}]
    ])
    expect(elected(directory, "tiny", links, { ...whole, excluded: new Set() })).toBe(peerId(0))
    expect(reason(directory, "tiny", busy, { ...whole, excluded: new Set() })).toBe("AllBusy")
    expect(reason(directory, "tiny", links, { ...whole, excluded: new Set([peerId(0)]) })).toBe("NoneSuits")
    expect(reason(directory, "tiny", attached([]), { ...whole, excluded: new Set() })).toBe("NoPeer")
  })
)
